/** Makes this worker one of a browser that lets it store nothing, or has no room; its name says which. */
if (self.name === "folder") {
  navigator.storage.getDirectory = () => Promise.reject(new DOMException("not here", "SecurityError"));
} else {
  navigator.storage.estimate = () => Promise.resolve({ usage: 100, quota: 100 });
}

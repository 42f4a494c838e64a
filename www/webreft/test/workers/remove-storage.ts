/** Makes this worker one of a browser that lets it store nothing, has no room, or says that it has room without end; its name says which. */
if (self.name === "folder") {
  navigator.storage.getDirectory = () => Promise.reject(new DOMException("not here", "SecurityError"));
} else if (self.name === "boast") {
  navigator.storage.estimate = () => Promise.resolve({ usage: 0, quota: 1e15 });
} else {
  navigator.storage.estimate = () => Promise.resolve({ usage: 100, quota: 100 });
}

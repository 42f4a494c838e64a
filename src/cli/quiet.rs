//! Graphics drivers print to standard error; users do not need it.

/// Runs something while standard error is dropped.
#[cfg(unix)]
pub(super) fn quiet<T>(run: impl FnOnce() -> T) -> T {
    use std::fs::OpenOptions;
    use std::io::stderr;
    use std::os::fd::AsFd;
    let kept = stderr().as_fd().try_clone_to_owned();
    let null = OpenOptions::new().write(true).open("/dev/null");
    let (Ok(kept), Ok(null)) = (kept, null) else { return run() };
    if rustix::stdio::dup2_stderr(null).is_err() {
        return run();
    }
    let result = run();
    rustix::stdio::dup2_stderr(kept).expect("standard error was there before");
    result
}

/// Runs something; only drivers on Unix print.
#[cfg(not(unix))]
pub(super) fn quiet<T>(run: impl FnOnce() -> T) -> T {
    run()
}

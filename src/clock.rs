//! Seconds and local time, natively and in the browser.

/// Seconds since some moment that stays the same as long as the program runs.
#[cfg(not(target_arch = "wasm32"))]
pub fn seconds() -> f64 {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed().as_secs_f64()
}

/// Seconds since some moment that stays the same as long as the program runs.
#[cfg(target_arch = "wasm32")]
pub fn seconds() -> f64 {
    performance::now() / 1e3
}

/// What a clock on the wall shows: local time in seconds since 1970.
#[cfg(not(target_arch = "wasm32"))]
pub fn local_now() -> i64 {
    chrono::Local::now().naive_local().and_utc().timestamp()
}

/// What a clock on the wall shows: local time in seconds since 1970.
#[cfg(target_arch = "wasm32")]
pub fn local_now() -> i64 {
    let now = js_sys::Date::new_0();
    (now.get_time() / 1e3 - now.get_timezone_offset() * 60.0).floor() as i64
}

#[cfg(target_arch = "wasm32")]
mod performance {
    use wasm_bindgen::prelude::wasm_bindgen;

    #[wasm_bindgen]
    extern "C" {
        /// Milliseconds, from the worker's own clock.
        #[wasm_bindgen(js_namespace = performance)]
        pub(super) fn now() -> f64;
    }
}

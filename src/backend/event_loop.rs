//! A browser's worker computes on the thread that also hears messages: a long run lets them in now and then.

use crate::clock;
use std::cell::Cell;

/// Seconds after which messages are let in.
#[cfg_attr(not(target_arch = "wasm32"), expect(dead_code, reason = "only a browser has an event loop"))]
const SECONDS: f64 = 0.05;

/// When messages were last let in, by whatever ran then: many short runs are as long as a long one.
pub(super) struct EventLoop {
    #[cfg_attr(not(target_arch = "wasm32"), expect(dead_code, reason = "only a browser has an event loop"))]
    last: Cell<f64>,
}

impl EventLoop {
    pub(super) fn new() -> EventLoop {
        EventLoop { last: Cell::new(clock::seconds()) }
    }

    /// Natively there is nothing to let in.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) async fn turn(&self) {}

    /// Lets messages in, if it is time to. A message to itself comes after those that wait; a timer would take 4 ms.
    #[cfg(target_arch = "wasm32")]
    pub(super) async fn turn(&self) {
        if clock::seconds() - self.last.get() < SECONDS {
            return;
        }
        let Ok(channel) = web_sys::MessageChannel::new() else { return };
        let promise = js_sys::Promise::new(&mut |resolve, _| {
            channel.port1().set_onmessage(Some(&resolve));
            if channel.port2().post_message(&wasm_bindgen::JsValue::NULL).is_err() {
                let _ = resolve.call0(&wasm_bindgen::JsValue::NULL); // no message will come
            }
        });
        let _ = wasm_bindgen_futures::JsFuture::from(promise).await; // it is never rejected
        channel.port1().close();
        self.last.set(clock::seconds());
    }
}

//! The engine as JavaScript sees it. It runs in a worker; nothing here is called from a page's main thread.

pub mod types;

use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::error::Error;

#[wasm_bindgen(start)]
fn start() {
    console_error_panic_hook::set_once();
}

/// An error crosses as `{ kind, message }`.
impl From<Error> for JsValue {
    fn from(error: Error) -> JsValue {
        let object = js_sys::Object::new();
        let _ = js_sys::Reflect::set(&object, &"kind".into(), &error.kind().name().into());
        let _ = js_sys::Reflect::set(&object, &"message".into(), &error.to_string().into());
        object.into()
    }
}

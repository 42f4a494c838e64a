//! What crosses between Rust and JavaScript: written once, here; wasm-bindgen writes the TypeScript.

use serde::{Deserialize, Serialize};
use tsify::Tsify;
use wasm_bindgen::JsValue;

use crate::error::Error;

/// The GPU that a browser offers.
#[derive(Serialize, Deserialize, Tsify)]
#[serde(rename_all = "camelCase")]
pub struct Adapter {
    /// As its driver calls itself; may be empty.
    pub name: String,
    /// Bytes in the largest buffer it can make.
    pub max_buffer_size: f64,
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

//! The engine as JavaScript sees it. It runs in a worker; nothing here is called from a page's main thread.

pub mod types;

use tsify::{Ts, Tsify};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::error::Error;
use types::Adapter;

/// Asks the browser for its GPU, without loading anything.
///
/// # Errors
///
/// `device` where there is no WebGPU, or no adapter.
#[wasm_bindgen]
pub async fn probe() -> Result<Ts<Adapter>, Error> {
    let instance = wgpu::Instance::default();
    let adapter = instance
        .request_adapter(&wgpu::RequestAdapterOptions::default())
        .await
        .map_err(|error| Error::device(format!("no WebGPU adapter: {error}")))?;
    let info = adapter.get_info();
    let limits = adapter.limits();
    let adapter = Adapter {
        name: info.name,
        software: info.device_type == wgpu::DeviceType::Cpu,
        max_buffer_size: limits.max_buffer_size as f64,
        max_binding_size: limits.max_storage_buffer_binding_size as f64,
    };
    adapter.into_ts().map_err(|error| Error::device(error.to_string()))
}

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

//! A file that JavaScript reads: the worker's ranges as a [`ByteSource`].

use js_sys::Uint8Array;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};

use crate::bytes::ByteSource;
use crate::error::{Error, Result};
use crate::files::ModelFiles;

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = "
/** A file of known length that is read in ranges. */
export interface Reader {
  readonly name: string;
  readonly length: number;
  read(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>>;
}
";

#[wasm_bindgen]
extern "C" {
    /// A file of known length that is read in ranges.
    #[wasm_bindgen(typescript_type = "Reader")]
    pub type Reader;

    #[wasm_bindgen(method, getter)]
    fn name(this: &Reader) -> String;

    #[wasm_bindgen(method, getter)]
    fn length(this: &Reader) -> f64;

    #[wasm_bindgen(method, catch)]
    async fn read(this: &Reader, offset: f64, length: f64) -> std::result::Result<JsValue, JsValue>;
}

/// Reads the headers of a model's files.
pub(super) async fn open(files: Vec<Reader>) -> Result<ModelFiles<JsSource>> {
    ModelFiles::open(files.into_iter().map(|file| (file.name(), JsSource(file))).collect()).await
}

/// A [`Reader`] as the engine wants it.
pub(super) struct JsSource(pub(super) Reader);

impl ByteSource for JsSource {
    fn len(&self) -> u64 {
        self.0.length() as u64
    }

    async fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let bytes = self.0.read(offset as f64, buf.len() as f64).await.map_err(thrown)?;
        let bytes: Uint8Array =
            bytes.dyn_into().map_err(|_| Error::file("the file was not read as bytes"))?;
        if bytes.length() as usize != buf.len() {
            let (expected, got) = (buf.len(), bytes.length());
            return Err(Error::file(format!("expected {expected} bytes at offset {offset}, got {got}")));
        }
        bytes.copy_to(buf);
        Ok(())
    }
}

/// An error that JavaScript threw, with the kind it says it has, and whether it says that it passes.
fn thrown(error: JsValue) -> Error {
    let get = |name: &str| js_sys::Reflect::get(&error, &name.into()).unwrap_or(JsValue::UNDEFINED);
    let message = get("message").as_string().unwrap_or_else(|| format!("{error:?}"));
    let told = match get("kind").as_string().as_deref() {
        Some("aborted") => Error::aborted(message),
        Some("unsupported") => Error::unsupported(message),
        _ => Error::file(message),
    };
    if get("retryable").is_truthy() { told.retryable() } else { told }
}

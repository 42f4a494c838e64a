//! Who watches a call from JavaScript, and may end it.

use super::types::StepProgress;
use crate::backend::Control;
use crate::clock;
use crate::train;
use std::cell::Cell;
use tsify::{Ts, Tsify};
use wasm_bindgen::prelude::wasm_bindgen;

/// Seconds between two reports of a run at least.
const EVERY: f64 = 0.1;

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** Hears how far a run is, and says whether it is to end. */
interface RunWatch { cancelled(): boolean; progress(share: number): void }
/** Hears how far a step is, and says whether it is to end. */
interface StepWatch { cancelled(): boolean; progress(progress: StepProgress): void }
"#;

#[wasm_bindgen]
extern "C" {
    /// Watches a run.
    #[wasm_bindgen(typescript_type = "RunWatch")]
    pub type RunWatch;

    #[wasm_bindgen(method, js_name = cancelled)]
    fn is_cancelled(this: &RunWatch) -> bool;

    #[wasm_bindgen(method, js_name = progress)]
    fn tell(this: &RunWatch, share: f64);

    /// Watches a training within its steps.
    #[wasm_bindgen(typescript_type = "StepWatch")]
    pub type StepWatch;

    #[wasm_bindgen(method, js_name = cancelled)]
    fn is_cancelled(this: &StepWatch) -> bool;

    #[wasm_bindgen(method, js_name = progress)]
    fn tell(this: &StepWatch, progress: Ts<StepProgress>);
}

impl train::Watch for StepWatch {
    fn cancelled(&self) -> bool {
        self.is_cancelled()
    }

    fn progress(&self, progress: &train::StepProgress) {
        if let Ok(progress) = StepProgress::from(*progress).into_ts() {
            self.tell(progress);
        }
    }
}

/// It may end a run, and hears nothing of it.
impl Control for RunWatch {
    fn cancelled(&self) -> bool {
        self.is_cancelled()
    }
}

/// A run that is told about, a few times a second.
pub(super) struct Told<'a> {
    watch: &'a RunWatch,
    last: Cell<f64>,
}

impl<'a> Told<'a> {
    pub(super) fn new(watch: &'a RunWatch) -> Told<'a> {
        Told { watch, last: Cell::new(f64::MIN) }
    }
}

impl Control for Told<'_> {
    fn cancelled(&self) -> bool {
        self.watch.is_cancelled()
    }

    fn progress(&self, share: f64) {
        let now = clock::seconds();
        if now - self.last.get() >= EVERY {
            self.last.set(now);
            self.watch.tell(share);
        }
    }
}

// What dropout makes of a number: 0, or more of it. The kernel binds `dropout`, and its Params has the intervention's `number`; lib/pcg comes
// before this.
struct Dropout {
    key: u32, // of the seed and the step
    rows_before: u32, // rows of the step before the pass
    threshold: u32, // draws below it are dropped
    gain: f32, // what the rest is multiplied by
}

fn kept(row: u32, column: u32) -> f32 {
    let drawn = pcg(pcg(pcg(dropout.key + params.number) + dropout.rows_before + row) + column);
    return select(dropout.gain, 0.0, drawn >> 8u < dropout.threshold);
}

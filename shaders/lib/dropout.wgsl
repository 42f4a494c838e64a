// What dropout makes of a number: 0, or more of it. The kernel binds `dropout`: key of the step, rows of the step before the pass,
// threshold, and the bits of what is left over; its Params has `number`, the intervention's; lib/pcg stands before this.
fn kept(row: u32, column: u32) -> f32 {
    let drawn = pcg(pcg(pcg(dropout[0] + params.number) + dropout[1] + row) + column);
    return select(bitcast<f32>(dropout[3]), 0.0, drawn >> 8u < dropout[2]);
}

// The greatest of a row of logits and Σ eˡ over it, as multiples of e to the greatest. The kernel binds `logits`; its Params has
// n_vocab; lib/reduce stands before this.
fn highest_and_mass(start: u32, lane: u32) -> vec2<f32> {
    var highest = -3.4e38;
    for (var i = lane; i < params.n_vocab; i += WG) {
        highest = max(highest, logits[start + i]);
    }
    highest = reduce_max(highest, lane);
    var mass = 0.0;
    for (var i = lane; i < params.n_vocab; i += WG) {
        mass += exp(logits[start + i] - highest);
    }
    return vec2(highest, reduce_sum(mass, lane));
}

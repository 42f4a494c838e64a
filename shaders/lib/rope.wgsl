// Which values of a head are turned together; the kernel's Params has n_rot.

// The two values of pair `pair` within a head: the halves of what is turned, then neighbours that are not turned.
fn pair_at(pair: u32) -> vec2<u32> {
    let rotated = params.n_rot / 2u;
    if pair < rotated { return vec2(pair, pair + rotated); }
    return vec2(2u * pair, 2u * pair + 1u);
}

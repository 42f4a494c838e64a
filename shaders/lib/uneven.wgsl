// Codes of four bits that are numbers of 16 values, the steps between which are uneven: IQ4_NL, IQ4_XS.

// kvalues_iq4nl, a value of 8 bits to a byte: -127 -104 -83 -65, -49 -35 -22 -10, 1 13 25 38, 53 69 89 113.
const VALUES = vec4(0xbfad9881u, 0xf6eaddcfu, 0x26190d01u, 0x71594535u);

// The values of four codes, in the lower halves of four bytes. Selects and shifts: indexed constants would lie in memory.
fn scaled(scale: f32, quants: u32) -> vec4<f32> {
    let codes = (vec4(quants) >> vec4(0u, 8u, 16u, 24u)) & vec4(15u);
    let upper = (codes & vec4(4u)) != vec4(0u);
    let low = select(vec4(VALUES.x), vec4(VALUES.y), upper);
    let high = select(vec4(VALUES.z), vec4(VALUES.w), upper);
    let four = select(low, high, codes >= vec4(8u));
    return scale * vec4<f32>(bitcast<vec4<i32>>(four << (vec4(24u) - 8u * (codes & vec4(3u)))) >> vec4(24u));
}

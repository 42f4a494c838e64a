// PCG-RXS-M-XS (O'Neill 2014): a number in which every bit hangs on every bit of the given one.
fn pcg(number: u32) -> u32 {
    let state = number * 747796405u + 2891336453u;
    let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
    return (word >> 22u) ^ word;
}

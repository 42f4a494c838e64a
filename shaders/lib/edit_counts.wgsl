// What branches and loops of edits go by. Held against a buffer's length, or lavapipe takes it for a constant and compiles the shader
// anew at every run.
fn rank() -> u32 { return min(params.rank, arrayLength(&strength)); }
fn act() -> u32 { return min(params.act, arrayLength(&theta)); }
fn learned() -> u32 { return min(params.learned, arrayLength(&theta)); }
fn subtracts() -> bool { return min(params.subtracts, arrayLength(&theta)) == 1u; }

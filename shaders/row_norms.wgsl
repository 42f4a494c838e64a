// The lengths of a weight matrix's rows.
//
//   norms  [n]          in out  ‖W[from_row + i]‖ at norms_at + i
//   W      [n_rows, K]          the slab, quantized
//
// One workgroup per row.

struct Params { n_in: u32, from_row: u32, n_rows: u32, norms_at: u32, lines: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> norms: array<f32>;

const WG = 64u;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) at: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let line = at.y + at.z * groups.y;
    if line >= params.lines { return; }
    let width = params.n_in / 4u;
    let start = (params.from_row + line) * width;
    var sum = 0.0;
    for (var i = lane; i < width; i += WG) {
        let w = weight4(start + i);
        sum += dot(w, w);
    }
    let total = reduce_sum(sum, lane);
    if lane == 0u { norms[params.norms_at + line] = sqrt(total); }
}

// The gradient of the boundary, summed over all edits; none of the temperature:
//
//     dβ = Σ count · u · (du / masked) · (D/T)·(1 − σ((β·D − j)/T))      0 where β is held
//
//   edits   [P, 2]  in      row of h, and how often it counts
//   masked  [P, D]  in      as `boundary` made it
//   trace   [P, 2D] in      u second
//   dtrace  [P, 2D] in      du second
//   theta   [n]     in      β and T at `at`
//   grad    [n]     in out  dβ, and 0 for T, at `at`
//
// Where `onto` is 1, what is there already is added to. One workgroup; lane i owns elements i, i + WG, ….

struct Params { n_edits: u32, n_embd: u32, at: u32, onto: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> edits: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> masked: array<f32>;
@group(0) @binding(3) var<storage, read> trace: array<f32>;
@group(0) @binding(4) var<storage, read> dtrace: array<f32>;
@group(0) @binding(5) var<storage, read> theta: array<f32>;
@group(0) @binding(6) var<storage, read_write> grad: array<f32>;

const WG = 64u;

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) lane: u32) {
    let beta = theta[params.at];
    let temperature = theta[params.at + 1u];
    let n = params.n_embd;
    var sum = 0.0;
    for (var i = lane; i < params.n_edits * n; i += WG) {
        let p = i / n;
        let j = i % n;
        if masked[i] != 0.0 {
            let second = 2u * p * n + n + j;
            let open = sigmoid((f32(j) - beta * f32(n)) / temperature);
            sum += f32(edits[p].y) * trace[second] * (dtrace[second] / masked[i]) * open;
        }
    }
    let total = reduce_sum(sum, lane);
    if lane == 0u {
        let held = beta < 1e-3 || beta > 1.0;
        let slope = select(total * f32(n) / temperature, 0.0, held);
        grad[params.at] = slope + select(0.0, grad[params.at], params.onto == 1u);
        grad[params.at + 1u] = 0.0;
    }
}

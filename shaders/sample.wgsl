// Chooses the next token of each sequence. Temperature 0 takes the highest logit, the first of equals. Else, in this order:
//
//     top-k    keeps the k highest logits                            (0: all)
//     top-p    keeps the fewest highest with probability p in all    (1: all)
//     min-p    keeps those with at least min_p of the highest's      (0: all)
//
// over probabilities at the given temperature, and one is drawn from what is kept; logits equal to the lowest kept stay too.
// Each filter is a threshold on logits, found by bisecting their bits, so nothing is sorted.
//
//   logits    [B, V]  in
//   settings  [B, 6]  in   temperature, top_k, top_p, min_p, seed, count of draws before
//   tokens    [B]     out  the chosen token, input of the next step
//
// One workgroup per sequence.

struct Params { n_vocab: u32 }

struct Settings { temperature: f32, top_k: u32, top_p: f32, min_p: f32, seed: u32, count: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> settings: array<Settings>;
@group(0) @binding(3) var<storage, read_write> tokens: array<u32>;

const WG = 256u;

var<workgroup> masses: array<f32, WG>;
var<workgroup> chosen: atomic<u32>;

// The bits of a logit as a number that grows with it.
fn order(logit: f32) -> u32 {
    let bits = bitcast<u32>(logit);
    return select(bits | 0x80000000u, ~bits, bits >> 31u == 1u);
}

// The seed and the number of the draw as a real in [0, 1).
fn draw(seed: u32, count: u32) -> f32 {
    return f32(pcg(seed ^ (count * 0x9e3779b9u)) >> 8u) / 16777216.0;
}

struct Row { start: u32, highest: f32, inverse_temperature: f32 }

fn mass_of(row: Row, i: u32) -> f32 {
    return exp((logits[row.start + i] - row.highest) * row.inverse_temperature);
}

// How many logits, and how much mass, lie at or above a threshold.
fn count_and_mass(row: Row, threshold: u32, lane: u32) -> vec2<f32> {
    var count = 0.0;
    var mass = 0.0;
    for (var i = lane; i < params.n_vocab; i += WG) {
        if order(logits[row.start + i]) >= threshold {
            count += 1.0;
            mass += mass_of(row, i);
        }
    }
    return reduce_sum2(vec2(count, mass), lane);
}

// The highest threshold that keeps at least `enough.x` logits and `enough.y` mass.
fn threshold_for(row: Row, enough: vec2<f32>, lane: u32) -> u32 {
    var threshold = 0u;
    for (var bit = 0x80000000u; bit > 0u; bit >>= 1u) {
        if all(count_and_mass(row, threshold | bit, lane) >= enough) { threshold |= bit; }
    }
    return threshold;
}

fn first_of_highest(row: Row, lane: u32) -> u32 {
    if lane == 0u { atomicStore(&chosen, params.n_vocab - 1u); }
    workgroupBarrier();
    for (var i = lane; i < params.n_vocab; i += WG) {
        if logits[row.start + i] == row.highest { atomicMin(&chosen, i); }
    }
    workgroupBarrier();
    return atomicLoad(&chosen);
}

// The token at which the mass kept, added up in the order of ids, passes `part` of the whole.
fn token_at(row: Row, threshold: u32, part: f32, lane: u32) -> u32 {
    let stretch = (params.n_vocab + WG - 1u) / WG;
    let first = lane * stretch;
    let end = min(first + stretch, params.n_vocab);
    var mass = 0.0;
    for (var i = first; i < end; i++) {
        if order(logits[row.start + i]) >= threshold { mass += mass_of(row, i); }
    }
    masses[lane] = mass;
    if lane == 0u { atomicStore(&chosen, 0u); }
    workgroupBarrier();
    var before = 0.0;
    var all_mass = 0.0;
    for (var other = 0u; other < WG; other++) {
        if other == lane { before = all_mass; }
        all_mass += masses[other];
    }
    // Every stretch whose mass begins at or below the aim offers its token; the last to do so holds the aim.
    let aim = part * all_mass;
    if mass > 0.0 && before <= aim {
        var sum = before;
        var token = first;
        for (var i = first; i < end; i++) {
            if order(logits[row.start + i]) < threshold || sum > aim { continue; }
            sum += mass_of(row, i);
            token = i;
        }
        atomicMax(&chosen, token);
    }
    workgroupBarrier();
    return atomicLoad(&chosen);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) sequence: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let b = sequence.x;
    let temperature = settings[b].temperature;
    let top_k = settings[b].top_k;
    let top_p = settings[b].top_p;
    let min_p = settings[b].min_p;
    var highest = -3.4e38;
    for (var i = lane; i < params.n_vocab; i += WG) {
        highest = max(highest, logits[b * params.n_vocab + i]);
    }
    var row = Row(b * params.n_vocab, reduce_max(highest, lane), 1.0);
    var token = u32();
    if temperature <= 0.0 {
        token = first_of_highest(row, lane);
    } else {
        row.inverse_temperature = 1.0 / temperature;
        var threshold = 0u;
        if top_k > 0u && top_k < params.n_vocab {
            threshold = threshold_for(row, vec2(f32(top_k), 0.0), lane);
        }
        if top_p < 1.0 {
            let kept = count_and_mass(row, threshold, lane).y;
            threshold = max(threshold, threshold_for(row, vec2(1.0, top_p * kept), lane));
        }
        if min_p > 0.0 {
            threshold = max(threshold, order(row.highest + log(min_p) * temperature));
        }
        token = token_at(row, threshold, draw(settings[b].seed, settings[b].count), lane);
    }
    if lane == 0u { tokens[b] = token; }
}

//! Q4_K: codes of four bits; a scale and a minimum of six bits for each 32.
//!
//! ```text
//! x = d · scale · q − dmin · min          block_q4_K { f16 d, dmin; u8 scales[12]; u8 qs[128]; }
//! ```

use half::f16;

use super::codes::{Part, RUN};
use super::super_block::{SUPER, SuperBlock, half, nibbles_of_run, of_run, scales_and_mins};
use super::{FOUR_BITS, Format, Layout, SCALE_AND_MIN};

/// The format Q4_K.
pub static Q4_K: Format = Format {
    name: "Q4_K",
    ggml_type: 12,
    wgsl: &[wgsl!("quant/q4_k.wgsl"), FOUR_BITS, SCALE_AND_MIN],
    layout: Layout::Q4K,
    block_values: 256,
    block_bytes: 144,
    qs_bytes: 128,
    scale_bytes: 20,
    cols_multiple: 256,
    halves: &[(0, 63.0 * 15.0), (2, 63.0)],
    decode: |bytes, out| BLOCK.decode(bytes, out),
    repack: |bytes, packed| BLOCK.repack(bytes, packed),
    decode_packed: |qs, scales, first, out| BLOCK.decode_packed(qs, scales, first, out),
    quantize: Some(|values, bytes| values.as_chunks().0.iter().for_each(|x| quantize_block(x, bytes))),
};

const BLOCK: SuperBlock<144, 16> = SuperBlock {
    parts: &[Part::Nibbles],
    scales: |block| ([half(block, 0), half(block, 2)], scales_and_mins(&block[4..16])),
    codes: |block, qs| (0..8).for_each(|run| qs.extend_from_slice(&nibbles_of_run(&block[16..], run))),
    group: of_run,
    number: f32::from,
};

/// The largest code.
const MOST: f32 = 15.0;
/// The largest scale and minimum.
const MOST_SMALL: f32 = 63.0;

/// `quantize_row_q4_K_ref`.
fn quantize_block(values: &[f32; SUPER], bytes: &mut Vec<u8>) {
    let runs = values.as_chunks::<RUN>().0;
    let lines: Vec<[f32; 2]> = runs.iter().map(fit).collect();
    let largest = |part: usize| lines.iter().fold(0.0, |most: f32, line| most.max(line[part]));
    let most = [largest(0), largest(1)];
    let small = |run: usize, part: usize| {
        let inverse = if most[part] > 0.0 { MOST_SMALL / most[part] } else { 0.0 };
        (inverse * lines[run][part]).round_ties_even().min(MOST_SMALL) as u8
    };
    let halves = most.map(|most| f16::from_f32(most / MOST_SMALL));
    let small: [[u8; 2]; 8] = std::array::from_fn(|run| [small(run, 0), small(run, 1)]);
    let code = |i: usize| {
        let [scale, min] = small[i / RUN].map(f32::from);
        let (d, min) = (halves[0].to_f32() * scale, halves[1].to_f32() * min);
        if d == 0.0 { 0 } else { ((values[i] + min) / d).round_ties_even().clamp(0.0, MOST) as u8 }
    };
    bytes.extend(halves.iter().flat_map(|half| half.to_le_bytes()));
    bytes.extend(pack_scales(&small));
    for pair in (0..SUPER).step_by(2 * RUN) {
        bytes.extend((pair..pair + RUN).map(|i| code(i) | code(i + RUN) << 4));
    }
}

/// Scales and minimums in twelve bytes, as [`scales_and_mins`] reads them.
fn pack_scales(small: &[[u8; 2]; 8]) -> [u8; 12] {
    std::array::from_fn(|at| match at {
        0..8 => small[at % 4][at / 4] | small[4 + at % 4][at / 4] >> 4 << 6,
        _ => small[at - 4][0] & 15 | small[at - 4][1] << 4,
    })
}

/// Scale and minimum of the line `scale · code − minimum` that is nearest to 32 values, weighed by how large they are: `make_qkx2_quants`.
fn fit(values: &[f32; RUN]) -> [f32; 2] {
    let mean_square = values.iter().map(|x| x * x).sum::<f32>() / RUN as f32;
    let weights = values.map(|x| mean_square.sqrt() + x.abs());
    let min = values.iter().fold(0.0, |min: f32, x| min.min(*x));
    let max = values.iter().fold(values[0], |max, x| max.max(*x));
    if max == min {
        return [0.0, -min];
    }
    let codes =
        |inverse: f32, min: f32| values.map(|x| (inverse * (x - min)).round_ties_even().clamp(0.0, MOST));
    let error = |codes: &[f32; RUN], [scale, min]: [f32; 2]| -> f32 {
        let off = |i: usize| scale * codes[i] + min - values[i];
        (0..RUN).map(|i| weights[i] * (off(i) * off(i))).sum()
    };
    let inverse = MOST / (max - min);
    let mut best = [1.0 / inverse, min];
    let mut least = error(&codes(inverse, min), best);
    for step in 0..=20 {
        // From the best minimum so far, as the reference does.
        let min = best[1];
        let codes = codes((-1.0 + 0.1 * step as f32 + MOST) / (max - min), min);
        let Some(line) = regress(values, &weights, &codes) else { continue };
        let error = error(&codes, line);
        if error < least {
            (best, least) = (line, error);
        }
    }
    [best[0], -best[1]]
}

/// The line through codes and values with the least weighed squares, which does not begin above 0.
fn regress(values: &[f32; RUN], weights: &[f32; RUN], codes: &[f32; RUN]) -> Option<[f32; 2]> {
    let sum = |of: &dyn Fn(usize) -> f32| (0..RUN).map(of).sum::<f32>();
    let (w, x) = (sum(&|i| weights[i]), sum(&|i| weights[i] * values[i]));
    let l = sum(&|i| weights[i] * codes[i]);
    let l2 = sum(&|i| weights[i] * codes[i] * codes[i]);
    let xl = sum(&|i| weights[i] * codes[i] * values[i]);
    let d = w * l2 - l * l;
    if d <= 0.0 || d.is_nan() {
        return None;
    }
    let min = (l2 * x - l * xl) / d;
    Some(if min > 0.0 { [xl / l2, 0.0] } else { [(w * xl - x * l) / d, min] })
}

// Sums and maxima over a workgroup of WG lanes, a power of two that the kernel names. Every lane gets the result.

var<workgroup> partial: array<f32, WG>;

fn reduce_sum(value: f32, lane: u32) -> f32 {
    partial[lane] = value;
    workgroupBarrier();
    for (var half = WG / 2u; half > 0u; half >>= 1u) {
        if lane < half { partial[lane] += partial[lane + half]; }
        workgroupBarrier();
    }
    let total = partial[0];
    workgroupBarrier();
    return total;
}

fn reduce_max(value: f32, lane: u32) -> f32 {
    partial[lane] = value;
    workgroupBarrier();
    for (var half = WG / 2u; half > 0u; half >>= 1u) {
        if lane < half { partial[lane] = max(partial[lane], partial[lane + half]); }
        workgroupBarrier();
    }
    let greatest = partial[0];
    workgroupBarrier();
    return greatest;
}

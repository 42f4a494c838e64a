// Sums and maxima over a workgroup of WG lanes, a multiple of 8 that the kernel names. Every lane gets the result. Two
// barriers each: none is needed after, for `partial` is read by all before the second and `eighths` before the next first.

var<workgroup> partial: array<vec4<f32>, WG>;
var<workgroup> eighths: array<vec4<f32>, 8>;

// Four sums at once.
fn reduce_sum4(value: vec4<f32>, lane: u32) -> vec4<f32> {
    partial[lane] = value;
    workgroupBarrier();
    if lane < 8u {
        var sum = vec4(0.0);
        for (var i = lane; i < WG; i += 8u) { sum += partial[i]; }
        eighths[lane] = sum;
    }
    workgroupBarrier();
    var total = vec4(0.0);
    for (var i = 0u; i < 8u; i++) { total += eighths[i]; }
    return total;
}

fn reduce_sum2(value: vec2<f32>, lane: u32) -> vec2<f32> {
    return reduce_sum4(vec4(value, 0.0, 0.0), lane).xy;
}

fn reduce_sum(value: f32, lane: u32) -> f32 {
    return reduce_sum4(vec4(value, 0.0, 0.0, 0.0), lane).x;
}

fn reduce_max(value: f32, lane: u32) -> f32 {
    partial[lane].x = value;
    workgroupBarrier();
    if lane < 8u {
        var greatest = partial[lane].x;
        for (var i = lane; i < WG; i += 8u) { greatest = max(greatest, partial[i].x); }
        eighths[lane].x = greatest;
    }
    workgroupBarrier();
    var greatest = eighths[0].x;
    for (var i = 1u; i < 8u; i++) { greatest = max(greatest, eighths[i].x); }
    return greatest;
}

// The settings of a step of an optimizer, and the length of the gradient: see src/kernel/optimizer.rs.

struct Hyper {
    param_scale: f32, beta1: f32, mean_share: f32, beta2: f32, square_share: f32, step_size: f32, square_correction: f32, eps: f32,
    max_norm: f32, gradient_decay: f32, rate: f32, is_sgd: u32,
}

struct Norm { length: f32, factor: f32 }

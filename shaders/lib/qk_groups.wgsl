// Where a group of queries' or keys' values lies in a row, how wide it is, and where its weights begin; in fours.

struct Group { start: u32, width: u32, weight: u32 }

fn group_at(number: u32) -> Group {
    let q_width = params.q_width / 4u;
    let k_width = params.k_width / 4u;
    if number < params.n_q { return Group(number * q_width, q_width, 0u); }
    return Group(params.n_q * q_width + (number - params.n_q) * k_width, k_width, q_width);
}

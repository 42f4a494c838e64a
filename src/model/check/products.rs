//! Products with the model's own matrices, each at its full size.

use super::Verdict;
use super::probes::{Made, reals};
use crate::backend::{Backend, NoControl};
use crate::error::Result;
use crate::kernel;
use crate::model::Model;
use crate::plan::{Buf, Matrix, Plan, Slab};
use crate::tensor::{Readback, Tensor};
use std::ops::Range;

/// Rows of x for the kernel that takes a few; all are compared.
const FEW: usize = 4;

/// Rows of x for those that take tiles: more than one tile.
const MANY: usize = 70;

/// Those of [`MANY`] that are compared: in the first tile and in the second.
const SAMPLED: [usize; 3] = [0, 37, 69];

/// Runs of rows of a matrix that are compared.
const GROUPS: usize = 4;

/// Every kind of slab that the model has, once: those of one format and one shape are one.
pub(super) fn slabs(model: &Model) -> Vec<Slab> {
    let mut slabs: Vec<Slab> = Vec::new();
    for slab in model.matrices().flat_map(|matrix| &matrix.slabs) {
        let kind = |slab: &Slab| (slab.format.name, slab.rows, slab.cols);
        if !slabs.iter().any(|known| kind(known) == kind(slab)) {
            slabs.push(slab.clone());
        }
    }
    slabs
}

/// Format and shape of a slab.
pub(super) fn place(slab: &Slab) -> String {
    format!("{} [{}, {}]", slab.format.name, slab.rows, slab.cols)
}

/// Runs of rows from the first to the last. They begin where a slab may be cut.
fn groups(slab: &Slab) -> Vec<Range<usize>> {
    let step = slab.format.rows_step(slab.cols);
    let n_steps = slab.rows.div_ceil(step);
    let starts = (0..GROUPS).map(|i| step * (i * (n_steps - 1) / (GROUPS - 1)));
    let mut groups: Vec<Range<usize>> = starts.map(|start| start..(start + step).min(slab.rows)).collect();
    groups.dedup();
    groups
}

/// A slab of the matrix by itself.
fn matrix(slab: &Slab) -> Matrix {
    Matrix { rows: slab.rows, cols: slab.cols, slabs: vec![Slab { first_row: 0, ..slab.clone() }] }
}

/// Some rows of a slab on their way from the device.
struct Rows {
    qs: Vec<Readback>,
    scales: Vec<Readback>,
}

impl Rows {
    fn read(slab: &Slab, groups: &[Range<usize>]) -> Rows {
        let words = |rows: usize| slab.format.words(rows, slab.cols);
        let qs = |rows: &Range<usize>| slab.qs.read_range(words(rows.start).qs..words(rows.end).qs);
        let scales = |tensor: &Tensor, rows: &Range<usize>| {
            tensor.read_range(words(rows.start).scales..words(rows.end).scales)
        };
        let all = slab.scales.iter().flat_map(|tensor| groups.iter().map(|rows| scales(tensor, rows)));
        Rows { qs: groups.iter().map(qs).collect(), scales: all.collect() }
    }

    /// The rows, one below the other, on another machine.
    async fn slab(self, cpu: &Backend, like: &Slab, rows: usize) -> Result<Slab> {
        let (mut qs, mut scales) = (Vec::new(), Vec::new());
        for words in self.qs {
            qs.extend(words.words().await?);
        }
        for words in self.scales {
            scales.extend(words.words().await?);
        }
        let tensor = |label: &str, words: &[u32]| cpu.tensor_of(label, &[words.len()], words);
        let scales = like.scales.as_ref().map(|_| tensor("scales", &scales)).transpose()?;
        Ok(Slab { first_row: 0, rows, qs: tensor("qs", &qs)?, scales, ..like.clone() })
    }
}

/// Compares all products with a slab, and its rows as embeddings. Products are added to a bias where the model has biases.
pub(super) async fn compare(
    verdict: &mut Verdict,
    [gpu, cpu]: [&Backend; 2],
    slab: &Slab,
    biased: bool,
) -> Result<()> {
    let bias = biased.then(|| reals(11, slab.rows));
    let groups = groups(slab);
    let rows = Rows::read(slab, &groups);
    let few: Vec<usize> = (0..FEW).collect();
    let mut forwards = Vec::new();
    for (n_tokens, sampled) in [(FEW, &few[..]), (MANY, &SAMPLED[..])] {
        let rows = (n_tokens, sampled);
        forwards.push((n_tokens, sampled, Forward::run(verdict, gpu, slab, rows, bias.as_deref()).await?));
    }
    let backward = Backward::run(verdict, gpu, slab, &groups).await?;
    let ids: Vec<u32> = groups.iter().flat_map(|group| group.clone().map(|row| row as u32)).collect();
    let embedded = embed(Some(&mut *verdict), gpu, slab, &ids).await?;

    let small = rows.slab(cpu, slab, ids.len()).await?;
    let place = place(slab);
    for (n_tokens, sampled, forward) in forwards {
        let x = sampled_rows(&inputs(slab, n_tokens), slab.cols, sampled);
        let bias = bias.as_ref().map(|bias| ids.iter().map(|id| bias[*id as usize]).collect::<Vec<f32>>());
        let want = product(cpu, &small, &x, bias.as_deref()).await?;
        verdict.compare(forward.kernel, &place, &forward.outputs(&groups).await?, &want);
    }
    let want = product_backward(cpu, &small, &gradients(ids.len())).await?;
    verdict.compare("matmul_backward", &place, &backward.outputs().await?, &want);
    let numbers: Vec<u32> = (0..ids.len() as u32).collect();
    let want = embed(None, cpu, &small, &numbers).await?;
    verdict.compare("embed", &place, &embedded.f32().await?, &want.f32().await?);
    Ok(())
}

/// All products with a slab, and its rows as embeddings, with memory for none of it.
pub(super) fn plan(slab: &Slab) -> Plan {
    let (mut plan, matrix) = (Plan::new("products"), matrix(slab));
    for n_tokens in [FEW, MANY] {
        let [x, y] = [slab.cols, slab.rows].map(|width| plan.scratch("x", &[n_tokens, width]));
        kernel::matmul(&mut plan, x, &matrix, y, false);
        kernel::matmul_backward(&mut plan, y, &matrix, x, false);
    }
    let ids = plan.scratch("tokens", &[FEW]);
    kernel::embed(&mut plan, ids, &matrix, 1.0);
    plan
}

/// x [T, cols], the same on every machine.
fn inputs(slab: &Slab, n_tokens: usize) -> Vec<f32> {
    reals(slab.cols as u64, n_tokens * slab.cols)
}

/// dy of the sampled rows of x and of the matrix; it is 0 elsewhere.
fn gradients(n_rows: usize) -> Vec<f32> {
    reals(7, SAMPLED.len() * n_rows)
}

fn sampled_rows(values: &[f32], width: usize, rows: &[usize]) -> Vec<f32> {
    rows.iter().flat_map(|row| &values[row * width..][..width]).copied().collect()
}

/// A product on the GPU: rows of its output on their way.
struct Forward {
    kernel: &'static str,
    rows: Vec<Readback>,
}

impl Forward {
    async fn run(
        verdict: &mut Verdict,
        gpu: &Backend,
        slab: &Slab,
        (n_tokens, sampled): (usize, &[usize]),
        bias: Option<&[f32]>,
    ) -> Result<Forward> {
        let mut made = Made::new(gpu);
        let x = made.values("x", &[n_tokens, slab.cols], &inputs(slab, n_tokens))?;
        let y = made.plan.kept("y", &[n_tokens, slab.rows]);
        add_product(&mut made, x, slab, y, bias)?;
        verdict.ran(&made.plan);
        let kernel = made.plan.steps().last().expect("a product").kernel.name;
        let prepared = gpu.prepare(made.plan)?;
        prepared.run_with(&[], &NoControl).await?;
        let row = |t: &usize| prepared.tensor(y).read_range(t * slab.rows..(t + 1) * slab.rows);
        Ok(Forward { kernel, rows: sampled.iter().map(row).collect() })
    }

    /// The outputs of some rows of the matrix, for each row of x.
    async fn outputs(self, groups: &[Range<usize>]) -> Result<Vec<f32>> {
        let mut outputs = Vec::new();
        for row in self.rows {
            let row = row.f32().await?;
            groups.iter().for_each(|group| outputs.extend(&row[group.clone()]));
        }
        Ok(outputs)
    }
}

/// The gradient of a product on the GPU, on its way. Only sampled rows of the matrix have any, the last among them: a loop that ends
/// early misses it.
struct Backward(Vec<Readback>);

impl Backward {
    async fn run(
        verdict: &mut Verdict,
        gpu: &Backend,
        slab: &Slab,
        groups: &[Range<usize>],
    ) -> Result<Backward> {
        let mut plan = Plan::new("check");
        let dy_tensor = gpu.tensor("dy", &[MANY, slab.rows])?;
        let mut values = &gradients(groups.iter().map(Range::len).sum())[..];
        for t in SAMPLED {
            for group in groups {
                let (some, rest) = values.split_at(group.len());
                dy_tensor.write(t * slab.rows + group.start, bytemuck::cast_slice(some));
                values = rest;
            }
        }
        let dy = plan.tensor(&dy_tensor);
        let dx = plan.kept("dx", &[MANY, slab.cols]);
        kernel::matmul_backward(&mut plan, dy, &matrix(slab), dx, false);
        verdict.ran(&plan);
        let prepared = gpu.prepare(plan)?;
        prepared.run_with(&[], &NoControl).await?;
        let row = |t: usize| prepared.tensor(dx).read_range(t * slab.cols..(t + 1) * slab.cols);
        Ok(Backward(SAMPLED.into_iter().map(row).collect()))
    }

    async fn outputs(self) -> Result<Vec<f32>> {
        let mut outputs = Vec::new();
        for row in self.0 {
            outputs.extend(row.f32().await?);
        }
        Ok(outputs)
    }
}

/// Writes x · Wᵀ + bias, where there is one, to y.
fn add_product(made: &mut Made<'_>, x: Buf, slab: &Slab, y: Buf, bias: Option<&[f32]>) -> Result<()> {
    if let Some(bias) = bias {
        let bias = made.values("bias", &[slab.rows], bias)?;
        kernel::broadcast_row(&mut made.plan, bias, y);
    }
    kernel::matmul(&mut made.plan, x, &matrix(slab), y, bias.is_some());
    Ok(())
}

/// x · Wᵀ + bias, where there is one, on the CPU.
async fn product(cpu: &Backend, slab: &Slab, x: &[f32], bias: Option<&[f32]>) -> Result<Vec<f32>> {
    let (mut made, n) = (Made::new(cpu), x.len() / slab.cols);
    let x = made.values("x", &[n, slab.cols], x)?;
    let y = made.plan.kept("y", &[n, slab.rows]);
    add_product(&mut made, x, slab, y, bias)?;
    only_output(made, y).await
}

/// dy · W on the CPU.
async fn product_backward(cpu: &Backend, slab: &Slab, dy: &[f32]) -> Result<Vec<f32>> {
    let (mut made, n) = (Made::new(cpu), dy.len() / slab.rows);
    let dy = made.values("dy", &[n, slab.rows], dy)?;
    let dx = made.plan.kept("dx", &[n, slab.cols]);
    kernel::matmul_backward(&mut made.plan, dy, &matrix(slab), dx, false);
    only_output(made, dx).await
}

async fn only_output(made: Made<'_>, buf: Buf) -> Result<Vec<f32>> {
    let mut ran = made.run(&[buf]).await?;
    ran.reads.pop().expect("one buffer is read").words.f32().await
}

/// Some rows as embeddings; counted in a verdict if there is one.
async fn embed(verdict: Option<&mut Verdict>, on: &Backend, slab: &Slab, ids: &[u32]) -> Result<Readback> {
    let mut made = Made::new(on);
    let ids = made.words("tokens", &[ids.len()], ids)?;
    let h = kernel::embed(&mut made.plan, ids, &matrix(slab), 2.0);
    let mut ran = made.run(&[h]).await?;
    if let Some(verdict) = verdict {
        verdict.ran(&ran.plan);
    }
    Ok(ran.reads.pop().expect("one buffer is read").words)
}

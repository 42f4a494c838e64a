//! A model's weights on their way onto the device: first each finds its place, then the files are read once, from the front to the back, a
//! piece of a tensor at a time.

use super::LoadProgress;
use super::weights::{Numbers, Wanted};
use crate::backend::Backend;
use crate::bytes::ByteSource;
use crate::error::{Error, Result};
use crate::gguf::{Header, TensorInfo};
use crate::plan::{Matrix, Slab};
use crate::quant::{self, BF16, F16, F32, Format, Q8_0};
use crate::tensor::Tensor;
use sha2::{Digest, Sha256};

/// Bytes of a file held at once while loading.
const PIECE_BYTES: u64 = 2 << 20;

/// A matrix whose outputs are heads that are turned by position, with pairs that are neighbours in the file. In memory their
/// first and their second values stand apart, as in Hugging Face's files, so that hidden states have the same order everywhere.
#[derive(Clone, Copy)]
pub(super) struct Turned {
    pub(super) head_dim: usize,
    pub(super) n_rot: usize,
}

impl Turned {
    /// Puts the rows of whole heads into order.
    fn sort(self, bytes: &[u8], row_bytes: usize) -> Vec<u8> {
        let half = self.n_rot / 2;
        let from = |row: usize| match row {
            row if row < half => 2 * row,
            row if row < self.n_rot => 2 * (row - half) + 1,
            row => row,
        };
        let mut sorted = Vec::with_capacity(bytes.len());
        for head in bytes.chunks_exact(self.head_dim * row_bytes) {
            for row in 0..self.head_dim {
                sorted.extend_from_slice(&head[from(row) * row_bytes..][..row_bytes]);
            }
        }
        sorted
    }
}

/// The format of a matrix on the device: its own, or that to which what is not quantized is quantized while loading. Tables of tokens keep
/// eight bits, as llama.cpp's files with four do, and so does what has rows of no whole blocks.
pub(super) fn format_on_device(
    info: &TensorInfo,
    stored: &'static Format,
    quantize: Option<&'static Format>,
) -> &'static Format {
    let is_wide = [&F32, &F16, &BF16].into_iter().any(|wide| std::ptr::eq(wide, stored));
    let Some(chosen) = quantize.filter(|_| is_wide) else { return stored };
    let is_table = ["token_embd.weight", "output.weight"].contains(&info.name.as_str());
    let chosen = if is_table { &Q8_0 } else { chosen };
    let fits = |format: &&'static Format| info.cols().is_multiple_of(format.cols_multiple);
    [chosen, &Q8_0].into_iter().find(fits).unwrap_or(stored)
}

/// Bytes of a tensor in the format in which it is kept.
pub(super) fn bytes_kept(info: &TensorInfo, quantize: Option<&'static Format>) -> u64 {
    let Ok(stored) = quant::format_of(info) else { return info.bytes };
    let format = format_on_device(info, stored, quantize);
    let values = info.rows() as u64 * info.cols() as u64;
    values / format.block_values as u64 * format.block_bytes as u64
}

/// Places for weights, and what of the files goes there.
pub(super) struct Loader<'a> {
    backend: &'a Backend,
    header: &'a Header,
    quantize: Option<&'static Format>,
    /// What is added to the weights of norms.
    norms_add: f32,
    vectors: Vec<Vector>,
    jobs: Vec<Job<'a>>,
}

/// Numbers that are read whole before they go to the device.
struct Vector {
    values: Vec<f32>,
    /// Where they go; nowhere if only the caller wants them.
    tensor: Option<Tensor>,
    add: f32,
}

/// A part of a tensor of the files, and where it goes.
struct Job<'a> {
    part: Part<'a>,
    to: To,
}

enum To {
    /// Numbers from this one on of a vector.
    Vector { number: usize, at: usize },
    /// Rows from this one on.
    Slab { slab: Slab, at: usize },
}

/// Rows of one tensor of the files.
struct Part<'a> {
    info: &'a TensorInfo,
    /// The format in the file.
    stored: &'static Format,
    /// The format on the device.
    format: &'static Format,
    first_row: usize,
    rows: usize,
    turned: Option<Turned>,
}

impl<'a> Part<'a> {
    fn whole(
        info: &'a TensorInfo,
        format: Option<&'static Format>,
        turned: Option<Turned>,
    ) -> Result<Part<'a>> {
        let stored = quant::format_of(info)?;
        Ok(Part { info, stored, format: format.unwrap_or(stored), first_row: 0, rows: info.rows(), turned })
    }

    /// Rows that stay together: a slab's format wants so many, and a head is sorted whole.
    fn rows_step(&self) -> usize {
        let step = self.format.rows_step(self.info.cols());
        let head = self.turned.map_or(1, |turned| turned.head_dim);
        if head.is_multiple_of(step) { head } else { head * step }
    }

    /// Where its first byte is, from the start of its file.
    fn offset(&self) -> u64 {
        self.info.offset + self.first_row as u64 * self.info.row_bytes()
    }
}

impl<'a> Loader<'a> {
    /// Nothing has a place yet.
    pub(super) fn new(
        backend: &'a Backend,
        header: &'a Header,
        quantize: Option<&'static Format>,
        norms_add: f32,
    ) -> Loader<'a> {
        Loader { backend, header, quantize, norms_add, vectors: Vec::new(), jobs: Vec::new() }
    }

    /// A place for vectors, one after the other; they are part of the fingerprint.
    pub(super) fn vector(&mut self, wanted: &Wanted) -> Result<Tensor> {
        let number = self.numbers(wanted)?;
        let name = wanted.first_name();
        let vector = &mut self.vectors[number];
        let tensor = self.backend.tensor(name, &[vector.values.len()])?;
        vector.tensor = Some(tensor.clone());
        vector.add = if name.contains("norm") { self.norms_add } else { 0.0 };
        Ok(tensor)
    }

    /// The number of vectors, one after the other, of which [`Loader::finish`] gives the values.
    pub(super) fn numbers(&mut self, wanted: &Wanted) -> Result<usize> {
        let Wanted::Vector(parts) = wanted else { unreachable!("a vector is wanted") };
        let number = self.vectors.len();
        let mut values = vec![0.0; parts.iter().map(|part| part.len).sum()];
        let mut at = 0;
        for Numbers { name, len, turned, zeros } in parts {
            match self.header.derived.get(name) {
                Some(derived) => values[at..at + len].copy_from_slice(derived),
                None if *zeros => {}
                None => {
                    let part = Part::whole(self.find(name), None, *turned)?;
                    self.jobs.push(Job { part, to: To::Vector { number, at } });
                }
            }
            at += len;
        }
        self.vectors.push(Vector { values, tensor: None, add: 0.0 });
        Ok(number)
    }

    /// Places for matrices of the same width, one above the other, in as few slabs as formats and the device allow.
    pub(super) fn matrix(&mut self, wanted: &Wanted) -> Result<Matrix> {
        let Wanted::Matrix { names, rows, cols, turned } = wanted else { unreachable!("a matrix is wanted") };
        let mut matrix = Matrix { rows: rows.iter().sum(), cols: *cols, slabs: Vec::new() };
        let parts = names.iter().zip(turned).map(|(name, turned)| {
            let info = self.find(name);
            let format = format_on_device(info, quant::format_of(info)?, self.quantize);
            Part::whole(info, Some(format), *turned)
        });
        let parts = parts.collect::<Result<Vec<_>>>()?;
        let mut first_row = 0;
        let most = (self.backend.max_tensor_bytes(), self.backend.max_slab_weights());
        for parts in into_slabs(parts, most)? {
            let slab = self.slab(parts, first_row, *cols)?;
            first_row += slab.rows;
            matrix.slabs.push(slab);
        }
        Ok(matrix)
    }

    fn slab(&mut self, parts: Vec<Part<'a>>, first_row: usize, cols: usize) -> Result<Slab> {
        let (format, label) = (parts[0].format, &parts[0].info.name);
        let rows = parts.iter().map(|part| part.rows).sum();
        let words = format.words(rows, cols);
        let qs = self.backend.tensor(label, &[words.qs])?;
        let scales = match words.scales {
            0 => None,
            n => Some(self.backend.tensor(format!("{label} scales"), &[n])?),
        };
        let slab = Slab { label: label.clone(), format, first_row, rows, cols, qs, scales };
        let mut at = 0;
        for part in parts {
            let rows = part.rows;
            self.jobs.push(Job { part, to: To::Slab { slab: slab.clone(), at } });
            at += rows;
        }
        Ok(slab)
    }

    fn find(&self, name: &str) -> &'a TensorInfo {
        self.header.tensor(name).expect("checked before")
    }

    /// Reads everything in the order in which it lies in the files: disks and networks are fastest so.
    pub(super) async fn stream(
        &mut self,
        files: &[impl ByteSource],
        mut progress: LoadProgress,
        on_progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<()> {
        if !self.backend.computes() {
            return Ok(());
        }
        self.jobs.sort_by_key(|job| (job.part.info.file, job.part.offset()));
        for job in std::mem::take(&mut self.jobs) {
            let (part, row_bytes) = (&job.part, job.part.info.row_bytes());
            let at_once = ((PIECE_BYTES / row_bytes).max(1) as usize).next_multiple_of(part.rows_step());
            for done in (0..part.rows).step_by(at_once) {
                let rows = at_once.min(part.rows - done);
                let mut bytes = vec![0; rows * row_bytes as usize];
                let offset = part.offset() + done as u64 * row_bytes;
                files[part.info.file].read(offset, &mut bytes).await?;
                progress.loaded += bytes.len() as u64;
                match &job.to {
                    To::Vector { number, at } => {
                        let values = &mut self.vectors[*number].values[*at..][..part.info.cols()];
                        part.stored.decode(&bytes, values);
                        check_numbers(&part.info.name, values)?;
                        if let Some(turned) = part.turned {
                            let sorted = turned.sort(bytemuck::cast_slice(values), size_of::<f32>());
                            values.copy_from_slice(&bytemuck::pod_collect_to_vec::<u8, f32>(&sorted));
                        }
                    }
                    To::Slab { slab, at } => part.write(bytes, slab, at + done),
                }
                on_progress(progress);
            }
        }
        Ok(())
    }

    /// Puts vectors where they go. Returns half of the SHA-256 of a prefix and of all vectors that go to the device, in hexadecimal, and
    /// the values of all vectors by their numbers.
    pub(super) fn finish(self, prefix: &str) -> (String, Vec<Vec<f32>>) {
        let mut digest = Sha256::new_with_prefix(prefix);
        let finish = |Vector { mut values, tensor, add }: Vector| {
            if add != 0.0 {
                values.iter_mut().for_each(|value| *value += add);
            }
            if let Some(tensor) = tensor {
                digest.update(bytemuck::cast_slice::<f32, u8>(&values));
                tensor.write_f32(&values);
            }
            values
        };
        let vectors = self.vectors.into_iter().map(finish).collect();
        (digest.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect(), vectors)
    }
}

fn check_numbers(name: &str, values: &[f32]) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(i) => {
            Err(Error::file(format!("tensor {name:?}: value {i} is {}: expected a number", values[i])))
        }
    }
}

impl Part<'_> {
    /// Brings some whole rows of the file into the form of the device, and writes them to row `at` of their slab.
    fn write(&self, mut bytes: Vec<u8>, slab: &Slab, at: usize) {
        if let Some(turned) = self.turned {
            bytes = turned.sort(&bytes, self.info.row_bytes() as usize);
        }
        if !std::ptr::eq(self.stored, self.format) {
            let mut values = vec![0.0; bytes.len() / self.stored.block_bytes * self.stored.block_values];
            self.stored.decode(&bytes, &mut values);
            bytes = self.format.quantize(&values);
        }
        let packed = self.format.repack(&bytes);
        let before = self.format.words(at, slab.cols);
        slab.qs.write(before.qs, &packed.qs);
        if let Some(scales) = &slab.scales {
            scales.write(before.scales, &packed.scales);
        }
    }
}

/// Rows of the matrix that CPUs take at once: fewer would leave them half idle.
const CPU_ROWS: usize = 192;

/// Cuts parts where a slab would pass `limit` bytes or `weights`, and puts neighbours of one format into one slab.
///
/// # Errors
/// `Unsupported` where rows that stay together pass `limit`.
fn into_slabs(parts: Vec<Part<'_>>, (limit, weights): (u64, usize)) -> Result<Vec<Vec<Part<'_>>>> {
    let mut slabs: Vec<Vec<Part<'_>>> = Vec::new();
    for part in parts {
        let cols = part.info.cols();
        let step = part.rows_step();
        let row_bytes = 4 * part.format.words(step, cols).qs.div_ceil(step) as u64;
        let block = if CPU_ROWS.is_multiple_of(step) { CPU_ROWS } else { step };
        let light = (weights / cols / block * block).max(block);
        let most = ((limit / row_bytes) as usize).min(light) / step * step;
        if most == 0 {
            let name = &part.info.name;
            return Err(Error::unsupported(format!(
                "tensor {name:?}: {step} rows of {cols} values are more than the {limit} bytes that the device binds"
            )));
        }
        let mut first_row = 0;
        while first_row < part.rows {
            let taken: usize = slabs.last().map_or(0, |slab| slab.iter().map(|part| part.rows).sum());
            let joins = slabs.last().is_some_and(|slab| std::ptr::eq(slab[0].format, part.format))
                && taken.is_multiple_of(step)
                && taken < most;
            let taken = if joins { taken } else { 0 };
            let rows = (part.rows - first_row).min(most - taken);
            let piece = Part { first_row, rows, ..part };
            match slabs.last_mut() {
                Some(slab) if joins => slab.push(piece),
                _ => slabs.push(vec![piece]),
            }
            first_row += rows;
        }
    }
    Ok(slabs)
}

#[cfg(test)]
mod tests {
    use super::{Part, into_slabs};
    use crate::gguf::{GgmlType, TensorInfo};

    /// The tensors of a matrix of 64 columns: the number of a format, and rows.
    fn tensors(parts: &[(u32, usize)]) -> Vec<TensorInfo> {
        let tensor = |(id, rows): &(u32, usize)| TensorInfo {
            name: "w".to_owned(),
            format: GgmlType::from_id(*id).unwrap(),
            dims: vec![*rows, 64],
            file: 0,
            offset: 0,
            bytes: 0,
        };
        parts.iter().map(tensor).collect()
    }

    /// For each slab, the first row and the rows of each of its parts.
    fn cut(tensors: &[TensorInfo], limit: u64) -> Vec<Vec<[usize; 2]>> {
        let part = |info| Part::whole(info, None, None).unwrap();
        let slabs = into_slabs(tensors.iter().map(part).collect(), (limit, usize::MAX)).unwrap();
        slabs.iter().map(|slab| slab.iter().map(|part| [part.first_row, part.rows]).collect()).collect()
    }

    const F32: u32 = 0;
    const Q8_0: u32 = 8;

    #[test]
    fn a_matrix_that_the_device_can_bind_is_one_slab() {
        assert_eq!(cut(&tensors(&[(F32, 8), (F32, 4), (F32, 4)]), 1 << 20), [[[0, 8], [0, 4], [0, 4]]]);
    }

    #[test]
    fn formats_do_not_share_a_slab() {
        assert_eq!(
            cut(&tensors(&[(F32, 8), (Q8_0, 4), (Q8_0, 4)]), 1 << 20),
            [vec![[0, 8]], vec![[0, 4], [0, 4]]]
        );
    }

    #[test]
    fn no_slab_is_larger_than_the_device_can_bind() {
        let row_bytes = 4 * 64;
        assert_eq!(
            cut(&tensors(&[(F32, 10), (F32, 3)]), 4 * row_bytes),
            [vec![[0, 4]], vec![[4, 4]], vec![[8, 2], [0, 2]], vec![[2, 1]]]
        );
        // Of Q8_0, only the quants count: 64 bytes a row.
        assert_eq!(cut(&tensors(&[(Q8_0, 10)]), 4 * 64), [[[0, 4]], [[4, 4]], [[8, 2]]]);
    }

    #[test]
    fn a_row_that_the_device_cannot_bind_is_an_error() {
        let info = &tensors(&[(F32, 3)])[0];
        let error = into_slabs(vec![Part::whole(info, None, None).unwrap()], (4 * 63, usize::MAX))
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("1 rows of 64 values") && error.contains("252 bytes"), "{error}");
    }
}

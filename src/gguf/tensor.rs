//! The table of tensors: what each is called, its shape and format, and where its values lie.

use std::collections::HashMap;

use super::cursor::{Cursor, Step};
use super::quoted;
use super::types::GgmlType;
use crate::error::{Error, Faults, Result};

/// `GGML_MAX_DIMS`.
const MAX_DIMS: u32 = 4;

/// One tensor of the file: everything but its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name, such as `blk.0.attn_q.weight`.
    pub name: String,
    /// How the values are written.
    pub format: GgmlType,
    /// Row-major shape, the fastest index last: a weight is [out, in]. ggml's `ne`, turned around.
    pub dims: Vec<usize>,
    /// Which of the model's files it lies in.
    pub file: usize,
    /// Where the values begin, from the start of the file.
    pub offset: u64,
    /// Bytes of all values.
    pub bytes: u64,
}

impl TensorInfo {
    /// Length of a row: the last dimension.
    pub fn cols(&self) -> usize {
        self.dims[self.dims.len() - 1]
    }

    /// Rows: the product of the other dimensions.
    pub fn rows(&self) -> usize {
        self.dims[..self.dims.len() - 1].iter().product()
    }

    /// Bytes of one row.
    pub fn row_bytes(&self) -> u64 {
        self.cols() as u64 / u64::from(self.format.block_values) * u64::from(self.format.block_bytes)
    }

    /// One past the last byte.
    fn end(&self) -> u64 {
        self.offset + self.bytes
    }
}

/// Reads `count` entries of the table; offsets are still from the start of the data.
pub(super) fn read_table(cursor: &mut Cursor, count: u64) -> Step<Vec<TensorInfo>> {
    cursor.expect_room(count, 8 + 4 + 8 + 4 + 8).map_err(|stop| stop.at(|| format!("{count} tensors")))?;
    let (mut tensors, mut faults) = (Vec::new(), Faults::default());
    for i in 0..count {
        let name = cursor.name().map_err(|stop| stop.at(|| format!("tensor {i}")))?;
        let place = || format!("tensor {}", quoted(name));
        let info = read_info(cursor, name).map_err(|stop| stop.at(place))?;
        tensors.extend(faults.note(info.map_err(|error| error.at(place()))));
    }
    faults.check()?;
    Ok(tensors)
}

/// An entry of the table; an error within it where the next one can still be read.
fn read_info(cursor: &mut Cursor, name: &str) -> Step<Result<TensorInfo>> {
    let n_dims = cursor.u32()?;
    if !(1..=MAX_DIMS).contains(&n_dims) {
        return Err(Error::file(format!("{n_dims} dimensions: expected 1 to {MAX_DIMS}")).into());
    }
    let mut dims = Vec::new();
    for _ in 0..n_dims {
        dims.push(cursor.u64()?);
    }
    dims.reverse();
    let id = cursor.u32()?;
    let offset = cursor.u64()?;
    Ok(info(name, dims, id, offset))
}

fn info(name: &str, dims: Vec<u64>, id: u32, offset: u64) -> Result<TensorInfo> {
    let format = GgmlType::from_id(id);
    let format = format.ok_or_else(|| Error::unsupported(format!("ggml type {id} is not known")))?;
    let bytes = data_bytes(&dims, format)?;
    let dims = dims.into_iter().map(|n| n as usize).collect();
    Ok(TensorInfo { name: name.to_owned(), format, dims, file: 0, offset, bytes })
}

/// Bytes of a tensor, if its shape is one: no dimension 0, rows of whole blocks, rows and columns below 2³².
fn data_bytes(dims: &[u64], format: GgmlType) -> Result<u64> {
    let product = |dims: &[u64]| dims.iter().try_fold(1, |n: u64, &d| n.checked_mul(d));
    let cols = dims[dims.len() - 1];
    let small = |n: &u64| *n <= u64::from(u32::MAX);
    let rows = product(&dims[..dims.len() - 1]).filter(small);
    let values = product(dims);
    let (Some(rows), Some(_), true, false) = (rows, values, small(&cols), dims.contains(&0)) else {
        return Err(Error::file(format!("shape {dims:?} is not possible")));
    };
    let block = u64::from(format.block_values);
    if !cols.is_multiple_of(block) {
        let name = format.name;
        return Err(Error::file(format!(
            "shape {dims:?}: expected rows of a multiple of {block} values for {name}"
        )));
    }
    rows.checked_mul(cols / block)
        .and_then(|blocks| blocks.checked_mul(format.block_bytes.into()))
        .ok_or_else(|| Error::file(format!("shape {dims:?} is not possible")))
}

/// Makes offsets count from the start of the file, once each tensor is seen to be aligned and inside the file. Of tensors that
/// a file is cut off before, the first is told, and how many there are.
pub(super) fn place(
    tensors: &mut [TensorInfo],
    data_start: u64,
    alignment: u64,
    file_len: u64,
) -> Result<()> {
    let (mut faults, mut n_beyond) = (Faults::default(), 0);
    for t in tensors {
        let name = quoted(&t.name);
        if !t.offset.is_multiple_of(alignment) {
            let offset = t.offset;
            faults.add(Error::file(format!(
                "tensor {name}: expected an offset that is a multiple of {alignment}, got {offset}"
            )));
        }
        let end = data_start.checked_add(t.offset).and_then(|start| start.checked_add(t.bytes));
        if end.is_none_or(|end| end > file_len) {
            let (offset, bytes) = (t.offset, t.bytes);
            if n_beyond == 0 {
                faults.add(Error::file(format!(
                    "tensor {name}: the file is cut off: expected {bytes} bytes at offset {data_start} + {offset}, the file has {file_len} bytes"
                )));
            }
            n_beyond += 1;
            continue;
        }
        t.offset += data_start;
    }
    if n_beyond > 1 {
        faults.add(Error::file(format!("{n_beyond} tensors do not end within the file")));
    }
    faults.check()
}

/// Fails if two tensors share a byte.
pub(super) fn check_apart(tensors: &[TensorInfo]) -> Result<()> {
    let mut order: Vec<&TensorInfo> = tensors.iter().collect();
    order.sort_by_key(|t| t.offset);
    let mut faults = Faults::default();
    for pair in order.windows(2) {
        let [a, b] = [pair[0], pair[1]];
        if a.end() > b.offset {
            let (name, other) = (quoted(&b.name), quoted(&a.name));
            faults.add(Error::file(format!(
                "tensor {name} at offset {}: overlaps tensor {other}, which ends at {}",
                b.offset,
                a.end()
            )));
        }
    }
    faults.check()
}

/// The place of each name in the table.
pub(super) fn index(tensors: &[TensorInfo]) -> Result<HashMap<String, usize>> {
    let (mut by_name, mut faults) = (HashMap::new(), Faults::default());
    for (i, t) in tensors.iter().enumerate() {
        if by_name.insert(t.name.clone(), i).is_some() {
            faults.add(Error::file(format!("tensor {}: the name stands twice", quoted(&t.name))));
        }
    }
    faults.check()?;
    Ok(by_name)
}

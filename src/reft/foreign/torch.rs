//! Dicts of tensors as `torch.save` writes them: a zip archive with a pickle and the tensors' numbers.
//!
//! ```text
//! <name>/data.pkl     names, shapes, and which storage each tensor is in (see `pickle`)
//! <name>/byteorder    little
//! <name>/data/<key>   a storage's numbers
//! <name>/version      3
//! ```
//!
//! Before torch 1.6 it is pickles one after the other (`pickle::read_legacy`), then for each storage the count of its numbers in 8
//! bytes, and the numbers.
//!
//! Nothing that is read is larger than the file: storages lie uncompressed in it, and each number is taken once.

use super::pickle::{self, Dtype, View};
use super::zip::{self, Archive};
use crate::error::{Error, Result};
use half::{bf16, f16};
use std::collections::BTreeMap;
use std::rc::Rc;

/// A row-major tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Its dimensions, last fastest; none for a single number.
    pub shape: Vec<usize>,
    /// Its numbers.
    pub values: Values,
}

/// Numbers of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Of float32, float16, bfloat16, or rounded from float64.
    Real(Vec<f32>),
    /// Of int64 or int32.
    Whole(Vec<i64>),
}

impl Tensor {
    /// A tensor of real numbers.
    pub(super) fn real(shape: &[usize], values: Vec<f32>) -> Tensor {
        Tensor { shape: shape.to_vec(), values: Values::Real(values) }
    }

    /// A whole number.
    pub(super) fn whole(number: usize) -> Tensor {
        Tensor { shape: Vec::new(), values: Values::Whole(vec![number as i64]) }
    }

    fn dtype(&self) -> Dtype {
        match self.values {
            Values::Real(_) => Dtype::F32,
            Values::Whole(_) => Dtype::I64,
        }
    }
}

/// The tensors of a file, by name.
///
/// # Errors
/// `File` if it is damaged, or holds anything but tensors.
pub(super) fn read(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>> {
    if bytes.starts_with(b"\x80\x02") {
        return read_legacy(bytes);
    }
    let mut archive = Archive::open(bytes, bytes.len())?;
    let names = archive.names();
    let pickles: Vec<&str> = names.iter().filter_map(|name| name.strip_suffix("/data.pkl")).collect();
    let [root] = pickles[..] else {
        let n = pickles.len();
        return Err(Error::file(format!("not a file of torch.save: expected one data.pkl, got {n}")));
    };
    let order = archive.read(&format!("{root}/byteorder"))?;
    if let Some(order) = order.filter(|order| order != b"little") {
        let order = String::from_utf8_lossy(&order).into_owned();
        return Err(Error::file(format!("byteorder {order:?}: expected \"little\"")));
    }
    let views = pickle::read(&archive.read(&format!("{root}/data.pkl"))?.expect("it is listed"))?;
    let mut storages: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    for (name, view) in &views {
        if !storages.contains_key(&*view.key) {
            let storage = archive.read(&format!("{root}/data/{}", view.key))?;
            let missing = || Error::file(format!("tensor {name:?}: storage {:?} is missing", view.key));
            storages.insert(&view.key, storage.ok_or_else(missing)?);
        }
    }
    tensors(&views, |key| &storages[key], bytes.len())
}

/// The tensors of a file from before torch 1.6.
fn read_legacy(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>> {
    let pickle::Legacy { tensors: views, keys, end } = pickle::read_legacy(bytes)?;
    let sizes: BTreeMap<&str, usize> = views.values().map(|view| (&*view.key, view.dtype.size())).collect();
    let mut storages: BTreeMap<&str, &[u8]> = BTreeMap::new();
    let mut rest = &bytes[end..];
    for key in &keys {
        let size =
            sizes.get(&**key).ok_or_else(|| Error::file(format!("storage {key:?}: no tensor has it")))?;
        let cut = || Error::file(format!("cut off: storage {key:?} is not whole"));
        let (count, numbers) = rest.split_first_chunk().ok_or_else(cut)?;
        let len = usize::try_from(u64::from_le_bytes(*count)).ok().and_then(|count| count.checked_mul(*size));
        let (storage, after) = len.and_then(|len| numbers.split_at_checked(len)).ok_or_else(cut)?;
        storages.insert(key, storage);
        rest = after;
    }
    if let Some((name, view)) = views.iter().find(|(_, view)| !storages.contains_key(&*view.key)) {
        return Err(Error::file(format!("tensor {name:?}: storage {:?} is missing", view.key)));
    }
    tensors(&views, |key| storages[key], bytes.len())
}

/// The tensors of these views; `left` are the bytes that they may be made of.
fn tensors<'a>(
    views: &BTreeMap<String, Rc<View>>,
    storage: impl Fn(&str) -> &'a [u8],
    mut left: usize,
) -> Result<BTreeMap<String, Tensor>> {
    let tensors = views.iter().map(|(name, view)| {
        let tensor = tensor(view, storage(&view.key), &mut left);
        Ok((name.clone(), tensor.map_err(|error| error.at(format!("tensor {name:?}")))?))
    });
    tensors.collect()
}

/// The numbers of a view; `left` are the bytes that tensors may still be made of.
fn tensor(view: &View, storage: &[u8], left: &mut usize) -> Result<Tensor> {
    let size = view.dtype.size();
    if Some(storage.len()) != view.len.checked_mul(size) {
        let (len, got) = (view.len, storage.len());
        return Err(Error::file(format!(
            "storage {:?}: expected {len} numbers of {size} bytes, got {got} bytes",
            view.key
        )));
    }
    let count: usize = view.shape.iter().product();
    *left = left
        .checked_sub(count * size)
        .ok_or_else(|| Error::file("shares its numbers with others: expected each number in one tensor"))?;
    let at = |index: usize| view.offset + offset_of(index, &view.shape, &view.strides);
    let elements = (0..count).map(|index| &storage[at(index) * size..][..size]);
    let values = match view.dtype {
        Dtype::F64 => Values::Real(elements.map(|e| f64::from_le_bytes(array(e)) as f32).collect()),
        Dtype::F32 => Values::Real(elements.map(|e| f32::from_le_bytes(array(e))).collect()),
        Dtype::F16 => Values::Real(elements.map(|e| f16::from_le_bytes(array(e)).to_f32()).collect()),
        Dtype::Bf16 => Values::Real(elements.map(|e| bf16::from_le_bytes(array(e)).to_f32()).collect()),
        Dtype::I64 => Values::Whole(elements.map(|e| i64::from_le_bytes(array(e))).collect()),
        Dtype::I32 => Values::Whole(elements.map(|e| i64::from(i32::from_le_bytes(array(e)))).collect()),
    };
    Ok(Tensor { shape: view.shape.clone(), values })
}

/// Where the element of this row-major number lies.
fn offset_of(mut index: usize, shape: &[usize], strides: &[usize]) -> usize {
    let mut offset = 0;
    for (n, stride) in shape.iter().zip(strides).rev() {
        offset += index % n * stride;
        index /= n;
    }
    offset
}

fn array<const N: usize>(element: &[u8]) -> [u8; N] {
    element.try_into().expect("as many bytes as a number has")
}

/// The file of these tensors, which `torch.load` reads with `weights_only=True`.
pub(super) fn write(tensors: &[(&str, Tensor)]) -> Vec<u8> {
    let pickle = pickle::write(tensors.iter().map(|(name, it)| (*name, it.dtype(), it.shape.as_slice())));
    let storages = tensors.iter().enumerate().map(|(number, (_, tensor))| {
        let bytes: &[u8] = match &tensor.values {
            Values::Real(values) => bytemuck::cast_slice(values),
            Values::Whole(values) => bytemuck::cast_slice(values),
        };
        (format!("archive/data/{number}"), bytes)
    });
    let file = |name: &str, bytes: &'static [u8]| (format!("archive/{name}"), bytes);
    let around = [file("byteorder", b"little"), file("version", b"3\n")];
    let head = std::iter::once(("archive/data.pkl".to_owned(), pickle.as_slice()));
    zip::pack(head.chain(around).chain(storages))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> Vec<u8> {
        let weight = Tensor::real(&[2, 3], vec![1.0, -2.0, 3.5, 0.0, f32::MIN_POSITIVE, 1e30]);
        write(&[("weight", weight), ("dim", Tensor::whole(64))])
    }

    #[test]
    fn what_is_written_is_read_with_the_same_bits() {
        let tensors = read(&sound()).expect("tensors");
        assert_eq!(tensors["dim"], Tensor::whole(64));
        assert_eq!(tensors["weight"].shape, [2, 3]);
        assert_eq!(
            write(&tensors.iter().map(|(n, t)| (n.as_str(), t.clone())).rev().collect::<Vec<_>>()),
            sound()
        );
    }

    #[test]
    fn strides_are_followed() {
        assert_eq!([0, 1, 2, 3, 4, 5].map(|i| offset_of(i, &[2, 3], &[1, 2])), [0, 2, 4, 1, 3, 5]);
    }

    #[test]
    fn no_damage_makes_it_panic() {
        let file = sound();
        for end in 0..file.len() {
            assert!(read(&file[..end]).is_err(), "cut at {end}");
        }
        for at in 0..file.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut file = file.clone();
                file[at] ^= flip;
                let _ = read(&file);
            }
        }
    }
}

//! llama.cpp's control vectors, which repeng writes, too: a GGUF file of vectors `direction.<layer>` `[D]`, F32, each of which is added to the
//! output of its layer at every token. There is none for layer 0 (`llama_adapter_cvec`, `common_control_vector_load`).

use super::{File, Interventions};
use crate::error::{Error, Result};
use crate::gguf::{self, Header, Writer};
use crate::model::{Component, Model};
use crate::quant::F32;
use crate::reft::{Components, Layers, Reft, ReftConfig};
use std::collections::BTreeMap;

/// The name of the file that is written.
pub(super) const NAME: &str = "control_vector.gguf";
/// What `general.architecture` says.
const ARCHITECTURE: &str = "controlvector";

/// Whether these bytes are a GGUF file: of interventions, only control vectors are.
pub(super) fn is_one(bytes: &[u8]) -> bool {
    bytes.starts_with(b"GGUF")
}

/// Reads a control vector as steering vectors, one for each of its layers.
///
/// # Errors
/// `File` for a damaged file, a tensor that is no direction, directions of several lengths, or numbers that are not finite.
pub fn read(bytes: &[u8]) -> Result<Interventions> {
    let header = gguf::read_whole(bytes)?;
    let mut directions = BTreeMap::new();
    for tensor in &header.tensors {
        let layer = tensor.name.strip_prefix("direction.").and_then(|number| number.parse::<usize>().ok());
        let Some(layer) = layer.filter(|layer| *layer > 0) else {
            return Err(Error::file(format!(
                "tensor {:?}: expected direction.1, direction.2, …, a vector for each layer of a control vector",
                tensor.name
            )));
        };
        directions.insert(layer, direction(&header, bytes, layer)?);
    }
    let lengths: Vec<usize> = directions.values().map(Vec::len).collect();
    match lengths.first() {
        None => {
            return Err(Error::file(
                "a control vector without directions: expected tensors direction.1, direction.2, …",
            ));
        }
        Some(first) if lengths.iter().any(|length| length != first) => {
            return Err(Error::file(format!(
                "directions of {lengths:?} numbers: expected the same for all layers"
            )));
        }
        Some(_) => {}
    }
    let (layers, directions) = directions.into_iter().unzip();
    let config = ReftConfig {
        kind: "steering_vector".to_owned(),
        layers: Layers::List(layers),
        component: Components::from(Component::BlockOutput.name()),
        rank: 1,
        ..ReftConfig::default()
    };
    Ok(Interventions::steering(config, directions))
}

/// The numbers of a layer's direction.
fn direction(header: &Header, bytes: &[u8], layer: usize) -> Result<Vec<f32>> {
    let name = format!("direction.{layer}");
    let tensor =
        header.tensor(&name).ok_or_else(|| Error::file(format!("tensor {name:?} is written otherwise")))?;
    if tensor.format.id != F32.ggml_type || tensor.dims.len() != 1 {
        let (format, dims) = (tensor.format.name, &tensor.dims);
        return Err(Error::file(format!(
            "tensor {name:?}: expected one dimension of F32, got {dims:?} of {format}"
        )));
    }
    let data = &bytes[tensor.offset as usize..][..tensor.bytes as usize];
    let values: Vec<f32> = bytemuck::pod_collect_to_vec(data);
    match values.iter().find(|value| !value.is_finite()) {
        Some(value) => Err(Error::file(format!("tensor {name:?}: holds {value}"))),
        None => Ok(values),
    }
}

/// Writes steering vectors as a control vector.
///
/// # Errors
/// `Unsupported` for other kinds, and for what a control vector cannot say: other places than layers' outputs, layer 0, other tokens than
/// all; `Device` if the parameters cannot be read.
pub(super) async fn write(model: &Model, reft: &Reft) -> Result<Vec<File>> {
    let directions = reft.directions().await?;
    let mut of_layers: BTreeMap<usize, Vec<f32>> = BTreeMap::new();
    for (it, direction) in reft.interventions.iter().zip(directions) {
        let (layer, component, positions) = (it.place.layer, it.place.component, it.positions.word());
        if component != Component::BlockOutput || layer == 0 || positions != "all" {
            return Err(Error::unsupported(format!(
                "layer {layer}, {}, positions {positions:?}: a control vector has block_output of layers from 1 on, at all positions",
                component.name()
            )));
        }
        match of_layers.get_mut(&layer) {
            Some(sum) => sum.iter_mut().zip(direction).for_each(|(sum, x)| *sum += x),
            None => drop(of_layers.insert(layer, direction)),
        }
    }
    let mut writer = Writer::default()
        .str("general.architecture", ARCHITECTURE)
        .str("controlvector.model_hint", model.arch.name)
        .u32("controlvector.layer_count", of_layers.len() as u32);
    let mut data: Vec<u8> = Vec::new();
    for (layer, direction) in &of_layers {
        data.resize(data.len().next_multiple_of(gguf::ALIGNMENT), 0);
        let (name, n_embd) = (format!("direction.{layer}"), direction.len() as u64);
        writer = writer.tensor(&name, &[n_embd], F32.ggml_type, data.len() as u64);
        data.extend_from_slice(bytemuck::cast_slice(direction));
    }
    Ok(vec![(NAME.to_owned(), [writer.head(), data].concat())])
}

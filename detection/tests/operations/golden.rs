//! The recorded cases, and comparison with them.

use deepmim_detection::boxes::{BoxF, to_boxes};
use std::collections::HashMap;
use std::path::PathBuf;
use tch::{Kind, Tensor};

pub struct Golden {
    pub settings: serde_json::Value,
    tensors: HashMap<String, Tensor>,
}

impl Golden {
    pub fn open() -> Self {
        let folder =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../parity/golden/detection_ops");
        let mut tensors = HashMap::new();
        for file in ["inputs.safetensors", "outputs.safetensors"] {
            tensors.extend(Tensor::read_safetensors(folder.join(file)).unwrap());
        }
        let settings = std::fs::read(folder.join("ops.json")).unwrap();
        Self {
            settings: serde_json::from_slice(&settings).unwrap(),
            tensors,
        }
    }

    pub fn tensor(&self, name: &str) -> &Tensor {
        &self.tensors[name]
    }

    pub fn boxes(&self, name: &str) -> Vec<BoxF> {
        to_boxes(&self.tensors[name])
    }

    pub fn floats(&self, name: &str) -> Vec<f32> {
        Vec::try_from(self.tensors[name].view(-1)).unwrap()
    }

    pub fn whole(&self, name: &str) -> Vec<i64> {
        Vec::try_from(self.tensors[name].to_kind(Kind::Int64).view(-1)).unwrap()
    }

    pub fn positions(&self, name: &str) -> Vec<usize> {
        self.whole(name).into_iter().map(|at| at as usize).collect()
    }

    /// The largest difference to a recording, relative to its largest value.
    pub fn gap(&self, found: &Tensor, name: &str) -> f64 {
        let wanted = &self.tensors[name];
        assert_eq!(found.size(), wanted.size(), "{name}");
        let scale = wanted.abs().max().double_value(&[]);
        (found - wanted).abs().max().double_value(&[]) / scale
    }
}

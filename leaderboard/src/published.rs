//! Results of papers, for reference beside our own on the same data set.

use crate::board::{Kind, PublishedRow};

/// The data sets that papers report on, told by their size.
struct DataSet {
    kind: Kind,
    pictures: usize,
    classes: usize,
    rows: &'static [Published],
}

struct Published {
    name: &'static str,
    scores: &'static [(&'static str, f64)],
    source: &'static str,
}

const IMAGENET: &[Published] = &[
    Published {
        name: "MAE ViT-B/16, 1600 epochs",
        scores: &[("top1", 83.6)],
        source: "He et al., Masked Autoencoders Are Scalable Vision Learners, 2022",
    },
    Published {
        name: "DeepMIM ViT-B/16, pixels",
        scores: &[("top1", 84.2)],
        source: "Ren et al., DeepMIM: Deep Supervision for Masked Image Modeling, 2023",
    },
    Published {
        name: "MAE-CLIP ViT-B/16, CLIP features",
        scores: &[("top1", 84.8)],
        source: "Ren et al., DeepMIM, 2023",
    },
    Published {
        name: "DeepMIM-CLIP ViT-B/16",
        scores: &[("top1", 85.6)],
        source: "Ren et al., DeepMIM, 2023",
    },
];

const COCO: &[Published] = &[
    Published {
        name: "MAE ViT-B, ViTDet Mask R-CNN",
        scores: &[("box_ap", 51.6), ("mask_ap", 45.9)],
        source: "Li et al., Exploring Plain Vision Transformer Backbones for Object Detection, 2022",
    },
    Published {
        name: "DeepMIM-CLIP ViT-B, ViTDet Mask R-CNN",
        scores: &[("box_ap", 52.8)],
        source: "Ren et al., DeepMIM, 2023",
    },
];

const ADE20K: &[Published] = &[
    Published {
        name: "MAE ViT-B, UperNet",
        scores: &[("miou", 48.1)],
        source: "He et al., Masked Autoencoders Are Scalable Vision Learners, 2022",
    },
    Published {
        name: "DeepMIM-CLIP ViT-B, UperNet",
        scores: &[("miou", 53.1)],
        source: "Ren et al., DeepMIM, 2023",
    },
];

const DATA_SETS: [DataSet; 3] = [
    DataSet {
        kind: Kind::Classify,
        pictures: 50_000,
        classes: 1000,
        rows: IMAGENET,
    },
    DataSet {
        kind: Kind::Detect,
        pictures: 5000,
        classes: 80,
        rows: COCO,
    },
    DataSet {
        kind: Kind::Segment,
        pictures: 2000,
        classes: 150,
        rows: ADE20K,
    },
];

/// The rows of the data set that a ground truth of this size is; of any size with `anyway`.
pub(crate) fn published(
    kind: Kind,
    pictures: usize,
    classes: usize,
    anyway: bool,
) -> Vec<PublishedRow> {
    DATA_SETS
        .iter()
        .filter(|set| {
            let same = set.pictures == pictures && set.classes == classes;
            set.kind == kind && (anyway || same)
        })
        .flat_map(|set| set.rows)
        .map(|row| PublishedRow {
            name: row.name.to_owned(),
            scores: row
                .scores
                .iter()
                .map(|(key, value)| ((*key).to_owned(), *value))
                .collect(),
            source: row.source.to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_peoples_numbers_stand_beside_the_same_data_only() {
        assert_eq!(published(Kind::Detect, 5000, 80, false).len(), 2);
        assert!(published(Kind::Detect, 80, 80, false).is_empty());
        assert_eq!(published(Kind::Segment, 50, 9, true).len(), 2);
    }
}

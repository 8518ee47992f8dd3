//! Predictions for single pictures: the best classes with their probabilities and names.

use serde::{Deserialize, Serialize};

use crate::error::ClassificationError;

/// The model's answer to one picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassPrediction {
    /// The picture, relative to the data set.
    pub name: String,
    /// Its class, from 0; -1 where unknown.
    pub label: i64,
    /// One logit per class.
    pub logits: Vec<f32>,
}

/// One class in a ranking.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RankedClass {
    /// Class number, from 0.
    pub class: usize,
    /// Its name, where names are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Softmax probability.
    pub probability: f64,
}

/// One picture with its best classes, best first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PictureClasses {
    /// The picture, as it was named by the caller.
    pub picture: String,
    /// Its classes, best first; ties in class order.
    pub top: Vec<RankedClass>,
}

impl ClassPrediction {
    /// What scoring needs: the best five classes and, where the class is known, the loss.
    ///
    /// # Errors
    /// When a logit is not finite.
    pub fn ranked(&self) -> Result<eval::Prediction, eval::EvalError> {
        eval::Prediction::from_logits(&self.name, usize::try_from(self.label).ok(), &self.logits)
    }

    /// Softmax of the logits, in double precision.
    pub fn probabilities(&self) -> Vec<f64> {
        let largest = self.logits.iter().copied().fold(f32::MIN, f32::max);
        let powers: Vec<f64> = self
            .logits
            .iter()
            .map(|logit| f64::from(logit - largest).exp())
            .collect();
        let sum: f64 = powers.iter().sum();
        powers.into_iter().map(|power| power / sum).collect()
    }

    /// The `count` best classes (all where there are fewer), named from `class_names` where given.
    ///
    /// # Errors
    /// When there is not one name per class.
    pub fn top(
        &self,
        count: usize,
        class_names: Option<&[String]>,
    ) -> Result<PictureClasses, ClassificationError> {
        if let Some(names) = class_names
            && names.len() != self.logits.len()
        {
            return Err(ClassificationError::ClassNames {
                names: names.len(),
                classes: self.logits.len() as i64,
            });
        }
        let probabilities = self.probabilities();
        let mut order: Vec<usize> = (0..probabilities.len()).collect();
        // Stable, so that equal logits stay in class order.
        order.sort_by(|a, b| self.logits[*b].total_cmp(&self.logits[*a]));
        let top = order
            .into_iter()
            .take(count)
            .map(|class| RankedClass {
                class,
                name: class_names.map(|names| names[class].clone()),
                probability: probabilities[class],
            })
            .collect();
        Ok(PictureClasses {
            picture: self.name.clone(),
            top,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prediction() -> ClassPrediction {
        ClassPrediction {
            name: "a.jpg".into(),
            label: -1,
            logits: vec![0.0, 2.0, 2.0, -1.0],
        }
    }

    #[test]
    fn classes_are_ranked_with_ties_in_class_order() {
        let names: Vec<String> = ["w", "x", "y", "z"].map(String::from).to_vec();
        let got = prediction().top(3, Some(&names)).unwrap();
        let order: Vec<_> = got.top.iter().map(|c| (c.class, c.name.clone())).collect();
        assert_eq!(
            order,
            [
                (1, Some("x".into())),
                (2, Some("y".into())),
                (0, Some("w".into()))
            ]
        );
        // e^2 / (1 + 2 e^2 + e^-1)
        assert!((got.top[0].probability - 0.457_640_3).abs() < 1e-6);
        let text = serde_json::to_string(&got).unwrap();
        assert_eq!(serde_json::from_str::<PictureClasses>(&text).unwrap(), got);
    }

    #[test]
    fn a_wrong_number_of_names_is_one_sentence() {
        let error = prediction().top(1, Some(&["only".into()])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "there are 1 class names for a model of 4 classes; give one name per class"
        );
    }

    #[test]
    fn ranked_and_top_agree() {
        let mut labelled = prediction();
        labelled.label = 2;
        let ranked = labelled.ranked().unwrap();
        let top = labelled.top(5, None).unwrap().top;
        assert_eq!(ranked.top.len(), top.len());
        for (a, b) in ranked.top.iter().zip(&top) {
            assert_eq!(a.class, b.class);
            assert!((a.probability.unwrap() - b.probability).abs() < 1e-12);
        }
        let loss = ranked.loss.unwrap();
        assert!((loss + top[1].probability.ln()).abs() < 1e-12);
        labelled.logits[0] = f32::NAN;
        assert!(labelled.ranked().unwrap_err().to_string().contains("a.jpg"));
    }

    #[test]
    fn large_logits_do_not_overflow() {
        let mut large = prediction();
        large.logits = vec![1000.0, 0.0];
        assert_eq!(large.probabilities()[0], 1.0);
    }
}

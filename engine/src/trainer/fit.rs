//! The loop itself: epochs, steps, logging.

use std::time::Instant;

use super::{Outcome, Trainer};
use crate::checkpoint::Sums;
use crate::step::{self, StepPlan};
use crate::{BatchSource, EngineError, Progress, SampleBatch, StepContext, Task, TaskError};

/// A state that is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvaluationPoint {
    /// The epoch of the last step, from 0.
    pub epoch: u64,
    /// Optimiser steps done.
    pub step: u64,
    /// Whether the training ends here.
    pub last: bool,
}

impl Trainer {
    /// Trains until all steps are done or a stop is asked for. `on_evaluation` is called where the
    /// configuration wants an evaluation and returns named values for the log; with `ema_decay` the
    /// model then holds the averaged weights. It ends early, and is repeated on resume, when an
    /// [`crate::evaluate()`] in it is stopped.
    ///
    /// # Errors
    /// When data, task or disk fail or a loss is not finite. The state before the failing step is
    /// saved first.
    pub fn fit<T: Task>(
        &mut self,
        task: &T,
        source: &impl BatchSource<Sample = T::Sample>,
        mut on_evaluation: impl FnMut(EvaluationPoint, &T) -> Result<Vec<(String, f64)>, TaskError>,
    ) -> Result<Outcome, EngineError> {
        let per_epoch = self.steps_per_epoch(source.batches())?;
        let total = self.config.total_steps(per_epoch);
        self.started = Instant::now();
        self.last_save = self.started;
        let mut progress = match self.ranks.world.is_main() {
            true => Progress::new("train", total, self.state.step),
            false => Progress::silent(),
        };
        loop {
            if self.state.evaluation_pending {
                if self.stop_is_wanted() {
                    return self.interrupt(&progress);
                }
                progress.hide();
                let ended = self.end_stretch(task, per_epoch, &mut on_evaluation);
                progress.show();
                if !ended? {
                    return self.interrupt(&progress);
                }
            }
            if self.state.step >= total {
                break;
            }
            self.train_stretch(task, source, per_epoch, &mut progress)?;
            if !self.state.evaluation_pending {
                return self.interrupt(&progress);
            }
        }
        self.save()?;
        self.summarize(Outcome::Finished)?;
        Ok(Outcome::Finished)
    }

    fn steps_per_epoch(&mut self, batches: usize) -> Result<u64, EngineError> {
        let known = self.state.batches_per_epoch;
        if self.state.step > 0 && known != batches as u64 {
            return Err(EngineError::Config(format!(
                "the run was started on {known} batches an epoch and now there are {batches}: resume with the same training set, or start a new run"
            )));
        }
        self.state.batches_per_epoch = batches as u64;
        let steps = batches / self.config.accumulate;
        if steps == 0 {
            return Err(EngineError::Config(format!(
                "the training set has {batches} batches an epoch, fewer than one step of accumulate = {} takes: lower batch_size or accumulate",
                self.config.accumulate
            )));
        }
        Ok(steps as u64)
    }

    /// Steps until the epoch ends or an evaluation is due (then `evaluation_pending` is set), or a stop
    /// is asked for.
    fn train_stretch<T: Task>(
        &mut self,
        task: &T,
        source: &impl BatchSource<Sample = T::Sample>,
        per_epoch: u64,
        progress: &mut Progress,
    ) -> Result<(), EngineError> {
        let accumulate = self.config.accumulate;
        let epoch = self.state.step / per_epoch;
        let done = (self.state.step % per_epoch) as usize;
        if self.stop_is_wanted() {
            return Ok(());
        }
        let mut batches = source.epoch(epoch, done * accumulate);
        loop {
            let in_epoch = self.state.step % per_epoch;
            // The order of operations is util/lr_sched.py's: batch / batches + epoch.
            let position = (in_epoch * accumulate as u64) as f64 / source.batches() as f64;
            let lr = self.schedule.lr(position + epoch as f64, self.state.step);
            let (batch, context) = self.train_step(task, &mut *batches, epoch, lr, progress)?;
            let step = self.state.step;
            self.state.epoch = step / per_epoch;
            let ended = self.state.epoch > epoch || self.config.evaluates_after(step, per_epoch);
            if step.is_multiple_of(self.config.log_every) || ended {
                self.log_window(step as f64 / per_epoch as f64, progress)?;
            }
            self.state.evaluation_pending = ended;
            self.snapshot(task, &batch, context)?;
            if ended {
                return Ok(());
            }
            if self.save_is_due(false) {
                self.save()?;
            }
            if self.stop_is_wanted() {
                return Ok(());
            }
        }
    }

    /// Whether a stop was asked for: of this process, or, as they all learn in each step, of another one.
    fn stop_is_wanted(&self) -> bool {
        match self.ranks.world.size() {
            1 => self.stop.raised(),
            _ => self.ranks.stop_is_agreed,
        }
    }

    fn train_step<T: Task>(
        &mut self,
        task: &T,
        batches: &mut dyn Iterator<Item = SampleBatch<T::Sample>>,
        epoch: u64,
        lr: f64,
        progress: &mut Progress,
    ) -> Result<(T::Batch, StepContext), EngineError> {
        let plan = StepPlan {
            epoch,
            step: self.state.step,
            lr,
            device: self.device,
            stop: self.stop.raised(),
        };
        let largest_lr = lr * self.optimizer.groups().largest_scale();
        tch::no_grad(|| {
            for (buffer, before) in &mut self.buffers {
                before.copy_(buffer);
            }
        });
        let made = step::make(
            task,
            batches,
            &mut self.optimizer,
            &self.config,
            &plan,
            &self.ranks,
            self.state.loss_scale.as_mut(),
        );
        let step::StepDone {
            mut values,
            samples,
            batch,
            context,
            stop,
        } = match made {
            Ok(done) => done,
            Err(failure) => return Err(self.fail(failure, &plan, largest_lr)),
        };
        self.ranks.stop_is_agreed = stop;
        if let Some(ema) = &mut self.ema {
            ema.update();
        }
        self.state.step += 1;
        task.after_step(self.state.step);
        values.push(("lr".into(), largest_lr));
        self.state.window.add(&values);
        self.state.epoch_sums.add(&values);
        progress.step(samples, || {
            format!("epoch {epoch} loss {:.4} lr {largest_lr:.2e}", values[0].1)
        });
        Ok((batch, context))
    }

    /// Lets the task write its pictures, where they are due. The step is complete by then.
    fn snapshot<T: Task>(
        &mut self,
        task: &T,
        batch: &T::Batch,
        context: StepContext,
    ) -> Result<(), EngineError> {
        let due = |every| self.state.step.is_multiple_of(every);
        if !self.config.snapshot_every.is_some_and(due) {
            return Ok(());
        }
        let Some(journal) = &self.journal else {
            return Ok(());
        };
        let folder = journal.run.snapshot(self.state.step);
        std::fs::create_dir_all(&folder).map_err(EngineError::io("cannot make", &folder))?;
        let context = StepContext {
            train: false,
            ..context
        };
        let written = tch::no_grad(|| task.snapshot(batch, &folder, &context));
        written.map_err(|source| self.save_after(source))
    }

    fn log_window(&mut self, epoch: f64, progress: &Progress) -> Result<(), EngineError> {
        let mut values = prefixed("train", self.state.window.means());
        self.state.window = Sums::default();
        values.push(("train/seconds".into(), self.seconds()));
        values.push(("train/samples_per_second".into(), progress.throughput()));
        self.log(epoch, &values)
    }

    fn log(&mut self, epoch: f64, values: &[(String, f64)]) -> Result<(), EngineError> {
        match &mut self.journal {
            Some(journal) => journal.log(self.state.step, epoch, values),
            None => Ok(()),
        }
    }

    /// Evaluates the present state, where that is due, and logs it and the epoch that ended. False when
    /// a stop came in between.
    fn end_stretch<T: Task>(
        &mut self,
        task: &T,
        per_epoch: u64,
        on_evaluation: &mut impl FnMut(EvaluationPoint, &T) -> Result<Vec<(String, f64)>, TaskError>,
    ) -> Result<bool, EngineError> {
        let step = self.state.step;
        let point = EvaluationPoint {
            epoch: (step - 1) / per_epoch,
            step,
            last: step >= self.config.total_steps(per_epoch),
        };
        let epoch_ended = step.is_multiple_of(per_epoch);
        let mut values = Vec::new();
        if epoch_ended {
            values = prefixed("epoch", self.state.epoch_sums.means());
        }
        if self.config.evaluates_after(step, per_epoch) {
            if let Some(ema) = &mut self.ema {
                ema.swap();
            }
            let evaluated = on_evaluation(point, task);
            if let Some(ema) = &mut self.ema {
                ema.swap();
            }
            let evaluated = match evaluated {
                Ok(evaluated) => evaluated,
                Err(error) if EngineError::is_stop(&error) => return Ok(false),
                Err(source) => return Err(self.save_after(source)),
            };
            self.state.evaluation = evaluated
                .iter()
                .map(|(name, value)| (name.clone(), value.is_finite().then_some(*value)))
                .collect();
            values.extend(prefixed("eval", evaluated));
        }
        if epoch_ended {
            self.state.epoch_sums = Sums::default();
        }
        self.state.evaluation_pending = false;
        self.log(step as f64 / per_epoch as f64, &values)?;
        if !point.last && self.save_is_due(epoch_ended) {
            self.save()?;
        }
        Ok(true)
    }

    fn save_is_due(&self, epoch_ended: bool) -> bool {
        let every = |every: Option<u64>, count: u64| every.is_some_and(|n| count.is_multiple_of(n));
        let minutes = self.last_save.elapsed().as_secs_f64() / 60.0;
        every(self.config.save_every_steps, self.state.step)
            || (epoch_ended && every(self.config.save_every_epochs, self.state.epoch))
            || self
                .config
                .save_every_minutes
                .is_some_and(|limit| minutes >= limit)
    }
}

fn prefixed(prefix: &str, values: Vec<(String, f64)>) -> Vec<(String, f64)> {
    values
        .into_iter()
        .map(|(name, value)| (format!("{prefix}/{name}"), value))
        .collect()
}

//! A batch in the making: where worker threads leave their samples.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::dataset::Dataset;
use crate::error::DataError;

/// A batch in the making.
#[derive(Debug)]
pub(crate) struct Pending<S> {
    slots: Mutex<Slots<S>>,
    done: Condvar,
}

#[derive(Debug)]
pub(crate) struct Slots<S> {
    results: Vec<Option<Result<S, DataError>>>,
    missing: usize,
}

impl<S> Pending<S> {
    pub(crate) fn new(size: usize) -> Self {
        let results = (0..size).map(|_| None).collect();
        Self {
            slots: Mutex::new(Slots {
                results,
                missing: size,
            }),
            done: Condvar::new(),
        }
    }

    /// Files the result of one sample; none where it was not tried any more.
    pub(crate) fn put(&self, at: usize, result: Option<Result<S, DataError>>) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.results[at] = result;
        slots.missing -= 1;
        if slots.missing == 0 {
            self.done.notify_all();
        }
    }

    /// Waits until every sample was tried. The first failure in order is the batch's.
    pub(crate) fn take(&self) -> Result<Vec<S>, DataError> {
        let mut slots = self.wait();
        std::mem::take(&mut slots.results)
            .into_iter()
            .flatten()
            .collect()
    }

    /// Waits until every sample was tried.
    pub(crate) fn wait(&self) -> MutexGuard<'_, Slots<S>> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        self.done
            .wait_while(slots, |slots| slots.missing > 0)
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A panic in a worker would abort the process (or leave the consumer waiting); it becomes an error.
pub(crate) fn sample<D: Dataset>(
    dataset: &D,
    index: usize,
    seed: u64,
) -> Result<D::Sample, DataError> {
    catch_unwind(AssertUnwindSafe(|| dataset.sample(index, seed))).unwrap_or_else(|panic| {
        Err(DataError::Panic {
            index,
            message: panic_message(&*panic),
        })
    })
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

//! The wish to stop, raised by a signal or by the program itself.

use std::io;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Shared by everything that should end early and in good order.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// A flag that only [`StopFlag::raise`] raises.
    pub fn new() -> Self {
        Self::default()
    }

    /// The process's flag, raised by the first SIGINT or SIGTERM. A second signal ends the process
    /// at once with the shell's usual exit code, 128 + signal.
    ///
    /// # Errors
    /// When the system refuses to install the handlers.
    pub fn on_signals() -> io::Result<Self> {
        static INSTALLED: OnceLock<StopFlag> = OnceLock::new();
        if let Some(installed) = INSTALLED.get() {
            return Ok(installed.clone());
        }
        let stop = Self::new();
        for signal in [SIGINT, SIGTERM] {
            // The order matters: this one looks at the flag before the next one raises it.
            flag::register_conditional_shutdown(signal, 128 + signal, stop.0.clone())?;
            flag::register(signal, stop.0.clone())?;
        }
        Ok(INSTALLED.get_or_init(|| stop).clone())
    }

    /// Asks for a stop.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether a stop was asked for.
    pub fn raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

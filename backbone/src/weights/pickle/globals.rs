//! Which names a pickle may mention.
//!
//! Nothing a pickle names is ever looked up or called, so this list protects nobody here; it makes
//! a hostile file say what it is instead of quietly loading. Names of classes that training
//! scripts leave in their checkpoints (`argparse.Namespace`, loggers, configuration objects) are
//! let through and stay inert.

/// Modules whose functions reach the operating system or run code.
const PROGRAM_MODULES: &[&str] = &[
    "_ctypes",
    "_operator",
    "_pickle",
    "_posixsubprocess",
    "_socket",
    "_thread",
    "aiohttp",
    "asyncio",
    "bdb",
    "cProfile",
    "cloudpickle",
    "code",
    "codeop",
    "commands",
    "ctypes",
    "dill",
    "distutils",
    "doctest",
    "ensurepip",
    "fileinput",
    "ftplib",
    "gc",
    "http",
    "httplib",
    "importlib",
    "inspect",
    "io",
    "joblib",
    "lib2to3",
    "linecache",
    "marshal",
    "mmap",
    "multiprocessing",
    "nt",
    "operator",
    "os",
    "pdb",
    "pickle",
    "pip",
    "pkgutil",
    "platform",
    "popen2",
    "posix",
    "profile",
    "pty",
    "pydoc",
    "requests",
    "runpy",
    "setuptools",
    "shelve",
    "shutil",
    "signal",
    "site",
    "smtplib",
    "socket",
    "socketserver",
    "ssl",
    "subprocess",
    "sys",
    "tempfile",
    "telnetlib",
    "test",
    "threading",
    "timeit",
    "trace",
    "turtle",
    "urllib",
    "urllib2",
    "venv",
    "webbrowser",
    "winreg",
    "xmlrpc",
    "zipapp",
    "zipimport",
];

/// Data types among Python's built-in names; all others (`eval`, `exec`, `getattr`, `open`, …) are
/// functions.
const BUILTIN_TYPES: &[&str] = &[
    "bool",
    "bytearray",
    "bytes",
    "complex",
    "dict",
    "float",
    "frozenset",
    "int",
    "list",
    "long",
    "object",
    "range",
    "set",
    "slice",
    "str",
    "tuple",
    "unicode",
    "xrange",
    "Ellipsis",
    "NotImplemented",
];

/// Functions of otherwise harmless modules that load or run code.
const PROGRAM_FUNCTIONS: &[(&str, &str)] = &[
    ("torch", "load"),
    ("torch.jit", "load"),
    ("torch.serialization", "load"),
    ("torch.storage", "_load_from_bytes"),
    ("types", "CodeType"),
    ("types", "FunctionType"),
    ("numpy", "load"),
];

/// Modules of those libraries that exist to compile, download or run code.
const PROGRAM_PREFIXES: &[&str] = &[
    "torch.hub",
    "torch.utils.cpp_extension",
    "torch.utils._config_module",
    "torch.utils.bottleneck",
    "torch.utils.collect_env",
    "torch._dynamo",
    "torch._inductor",
    "torch.fx.experimental",
    "numpy.f2py",
    "numpy.distutils",
    "numpy.testing",
];

/// True for a name that only a program has a use for.
pub(super) fn is_program(module: &str, name: &str) -> bool {
    let top = module.split('.').next().unwrap_or(module);
    if matches!(top, "builtins" | "__builtin__") {
        return !BUILTIN_TYPES.contains(&name);
    }
    PROGRAM_MODULES.contains(&top)
        || PROGRAM_FUNCTIONS.contains(&(module, name))
        || PROGRAM_PREFIXES.iter().any(|prefix| {
            module
                .strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
}

#[cfg(test)]
mod tests {
    use super::is_program;

    #[test]
    fn programs_are_told_from_data() {
        for (module, name) in [
            ("posix", "system"),
            ("os.path", "join"),
            ("__builtin__", "eval"),
            ("builtins", "getattr"),
            ("torch.hub", "load"),
            ("subprocess", "Popen"),
        ] {
            assert!(is_program(module, name), "{module}.{name}");
        }
        for (module, name) in [
            ("argparse", "Namespace"),
            ("builtins", "set"),
            ("collections", "OrderedDict"),
            ("torch._utils", "_rebuild_tensor_v2"),
            ("mmengine.logging.history_buffer", "HistoryBuffer"),
            ("functools", "partial"),
            ("osgeo", "Thing"),
        ] {
            assert!(!is_program(module, name), "{module}.{name}");
        }
    }
}

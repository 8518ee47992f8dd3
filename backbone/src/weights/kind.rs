//! Names of element types in the four places they are spelt: PyTorch, its storages, numpy and
//! safetensors.

use tch::Kind;

/// Element type, its PyTorch name, its storage class, its numpy code, its safetensors name.
const KINDS: &[(Kind, &str, &str, &str, &str)] = &[
    (Kind::Float, "float32", "FloatStorage", "f4", "F32"),
    (Kind::Double, "float64", "DoubleStorage", "f8", "F64"),
    (Kind::Half, "float16", "HalfStorage", "f2", "F16"),
    (Kind::BFloat16, "bfloat16", "BFloat16Storage", "", "BF16"),
    (Kind::Int64, "int64", "LongStorage", "i8", "I64"),
    (Kind::Int, "int32", "IntStorage", "i4", "I32"),
    (Kind::Int16, "int16", "ShortStorage", "i2", "I16"),
    (Kind::Int8, "int8", "CharStorage", "i1", "I8"),
    (Kind::Uint8, "uint8", "ByteStorage", "u1", "U8"),
    (Kind::Bool, "bool", "BoolStorage", "b1", "BOOL"),
    (
        Kind::ComplexFloat,
        "complex64",
        "ComplexFloatStorage",
        "c8",
        "",
    ),
    (
        Kind::ComplexDouble,
        "complex128",
        "ComplexDoubleStorage",
        "c16",
        "",
    ),
    (
        Kind::Float8e5m2,
        "float8_e5m2",
        "Float8_e5m2Storage",
        "",
        "F8_E5M2",
    ),
    (
        Kind::Float8e4m3fn,
        "float8_e4m3fn",
        "Float8_e4m3fnStorage",
        "",
        "F8_E4M3",
    ),
];

/// The PyTorch name of an element type, as in `float32`.
pub fn kind_name(kind: Kind) -> &'static str {
    find(|row| row.0 == kind).map_or("an unusual type", |row| row.1)
}

fn find(
    wanted: impl Fn(&(Kind, &'static str, &'static str, &'static str, &'static str)) -> bool,
) -> Option<&'static (Kind, &'static str, &'static str, &'static str, &'static str)> {
    KINDS.iter().find(|row| wanted(row))
}

/// `torch.float32` and its older aliases, without `torch.`.
pub(super) fn from_torch(name: &str) -> Option<Kind> {
    let name = match name {
        "float" => "float32",
        "double" => "float64",
        "half" => "float16",
        "long" => "int64",
        "int" => "int32",
        "short" => "int16",
        name => name,
    };
    find(|row| row.1 == name).map(|row| row.0)
}

/// `FloatStorage` and so on.
pub(super) fn from_storage(class: &str) -> Option<Kind> {
    find(|row| row.2 == class).map(|row| row.0)
}

/// numpy's `f4` and so on, without the byte order.
pub(super) fn from_numpy(code: &str) -> Option<Kind> {
    find(|row| row.3 == code && !code.is_empty()).map(|row| row.0)
}

/// The storage class, as PyTorch names it.
pub(super) fn to_storage(kind: Kind) -> Option<&'static str> {
    find(|row| row.0 == kind).map(|row| row.2)
}

/// numpy's code, where it has the type.
pub(super) fn to_numpy(kind: Kind) -> Option<&'static str> {
    find(|row| row.0 == kind && !row.3.is_empty()).map(|row| row.3)
}

/// `F32` and so on.
pub(super) fn from_safetensors(name: &str) -> Option<Kind> {
    find(|row| row.4 == name && !name.is_empty()).map(|row| row.0)
}

/// The safetensors name, where the format has the type.
pub(super) fn to_safetensors(kind: Kind) -> Option<&'static str> {
    find(|row| row.0 == kind && !row.4.is_empty()).map(|row| row.4)
}

/// True for the types that weights are computed in.
pub(super) fn is_float(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Float
            | Kind::Double
            | Kind::Half
            | Kind::BFloat16
            | Kind::Float8e5m2
            | Kind::Float8e4m3fn
    )
}

//! Reading load-time globals; shared by both objects. Each has `maps` with the globals, and `maps::ty` with
//! their types.

/// Reads one field of a load-time global without copying the rest: the verifier sees a constant and
/// removes the branches it rules out.
macro_rules! global {
    ($name:ident, $field:ident) => {{
        // SAFETY: the global is a live, initialised static of this type; `Global` is
        // `repr(transparent)`. Volatile keeps LLVM from folding in the value it was compiled with.
        unsafe {
            core::ptr::read_volatile(
                &raw const (*(&raw const $crate::maps::$name).cast::<$crate::maps::ty::$name>()).$field,
            )
        }
    }};
}
pub(crate) use global;

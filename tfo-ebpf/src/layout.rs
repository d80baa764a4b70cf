//! Where the members of kernel structures lie on this kernel, and how load-time globals are read. Both objects
//! have this global; user space fills it in from BTF before loading.

use aya_ebpf::Global;
use tfo_common::layout::Layout;

/// Member positions on this kernel.
#[unsafe(no_mangle)]
pub static TFO_LAYOUT: Global<Layout> = Global::new(Layout::NONE);

/// Reads one field of a load-time global (`Global<$type>`) without copying the rest: the verifier sees a constant
/// and removes the branches it rules out.
macro_rules! read_global {
    ($global:expr, $type:ty, $field:ident) => {{
        // SAFETY: the global is a live, initialised static of this type; `Global` is
        // `repr(transparent)`. Volatile keeps LLVM from folding in the value it was compiled with.
        unsafe { core::ptr::read_volatile(&raw const (*(&raw const $global).cast::<$type>()).$field) }
    }};
}

/// Position of a kernel member: `layout!(sk_err)`.
macro_rules! layout {
    ($field:ident) => {
        $crate::layout::read_global!($crate::layout::TFO_LAYOUT, tfo_common::layout::Layout, $field)
    };
}

pub(crate) use layout;
pub(crate) use read_global;

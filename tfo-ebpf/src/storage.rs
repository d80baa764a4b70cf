//! Socket storage: values that live and die with a socket (`BPF_MAP_TYPE_SK_STORAGE`).

use aya_ebpf::{
    bindings::BPF_SK_STORAGE_GET_F_CREATE, btf_maps::SkStorage, helpers::generated::bpf_sk_storage_get,
};

/// The value of a socket, if it has one. `None` for NULL.
#[inline(always)]
pub fn get<'a, T, S>(map: &'static SkStorage<T>, sk: *mut S) -> Option<&'a mut T> {
    look_up(map, sk, 0)
}

/// The value of a socket, made of zeros if it has none. `None` for NULL, and where memory is short.
#[inline(always)]
pub fn get_or_create<'a, T, S>(map: &'static SkStorage<T>, sk: *mut S) -> Option<&'a mut T> {
    look_up(map, sk, u64::from(BPF_SK_STORAGE_GET_F_CREATE))
}

/// `bpf_sk_storage_get`: aya's own accessors take only a `SockAddrContext`.
#[inline(always)]
fn look_up<'a, T, S>(map: &'static SkStorage<T>, sk: *mut S, flags: u64) -> Option<&'a mut T> {
    if sk.is_null() {
        return None;
    }
    let map = core::ptr::from_ref(map).cast_mut().cast();
    // SAFETY: a socket storage map whose value is `T`, valid when all zero; `sk` was checked; a NULL initial value
    // means zero. The result is NULL or points to a value that lives as long as the socket, which the kernel holds
    // during the call; programs of one connection run under its lock.
    unsafe {
        bpf_sk_storage_get(map, sk.cast(), core::ptr::null_mut(), flags)
            .cast::<T>()
            .as_mut()
    }
}

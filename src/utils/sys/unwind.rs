//! The unwinder's interface, without an unwinder. Release builds abort on a panic and are stripped, so nothing unwinds
//! and a backtrace would be a list of bare numbers; yet the standard library's panic message pulls in an unwinder and a
//! DWARF reader (120 kB) and needs a tenth of the file as tables. With these functions, `panicked at FILE:LINE` stays
//! and the rest falls away at link time. Interface: Itanium C++ ABI, Exception Handling, level I; on 32-bit ARM
//! also that of its Exception Handling ABI (IHI 0038), whose tables name the routines that read them.

use std::ffi::{c_int, c_void};

/// `_URC_END_OF_STACK`.
const END_OF_STACK: c_int = 5;

/// No frame to report; `visit` is never called.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Backtrace(_visit: extern "C" fn(*mut c_void, *mut c_void) -> c_int, _data: *mut c_void) -> c_int {
    END_OF_STACK
}

/// Called at the end of a landing pad, which nothing reaches.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume(_exception: *mut c_void) -> ! {
    std::process::abort()
}

/// Functions of a frame's context, which nobody is ever given.
macro_rules! of_no_context {
    ($($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $name(_context: *mut c_void) -> *mut c_void {
            std::ptr::null_mut()
        }
    )*};
}

of_no_context! {
    _Unwind_GetIP _Unwind_GetCFA _Unwind_GetLanguageSpecificData _Unwind_GetRegionStart _Unwind_GetTextRelBase
    _Unwind_GetDataRelBase _Unwind_FindEnclosingFunction
}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_GetIPInfo(_context: *mut c_void, _before: *mut c_int) -> *mut c_void {
    std::ptr::null_mut()
}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_SetGR(_context: *mut c_void, _register: c_int, _value: *mut c_void) {}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_SetIP(_context: *mut c_void, _value: *mut c_void) {}

#[cfg(target_arch = "arm")]
mod arm {
    use std::ffi::{c_int, c_void};

    /// `_URC_FAILURE`.
    const FAILURE: c_int = 9;
    /// `_UVRSR_FAILED`.
    const NO_REGISTER: c_int = 2;

    /// Routines that would unwind one frame.
    macro_rules! frames {
        ($($name:ident)*) => {$(
            #[unsafe(no_mangle)]
            extern "C" fn $name(_state: c_int, _exception: *mut c_void, _context: *mut c_void) -> c_int {
                FAILURE
            }
        )*};
    }

    frames! { __aeabi_unwind_cpp_pr0 __aeabi_unwind_cpp_pr1 __aeabi_unwind_cpp_pr2 }

    #[unsafe(no_mangle)]
    extern "C" fn __gnu_unwind_frame(_exception: *mut c_void, _context: *mut c_void) -> c_int {
        FAILURE
    }

    /// Access to a register of a frame.
    macro_rules! registers {
        ($($name:ident)*) => {$(
            #[unsafe(no_mangle)]
            extern "C" fn $name(_: *mut c_void, _class: c_int, _number: u32, _form: c_int, _value: *mut c_void) -> c_int {
                NO_REGISTER
            }
        )*};
    }

    registers! { _Unwind_VRS_Get _Unwind_VRS_Set }
}

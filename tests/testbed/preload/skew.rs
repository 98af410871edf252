//! A library that, preloaded into a program, sets its wall clock wrong by `SKEW_SECONDS`: a number, or the path of a file
//! that holds one and may be replaced by another. Clocks that only tell how much time passes go right. It is compiled when
//! a test asks for it (`src/skew.rs`), and is no part of any crate.
#![crate_type = "cdylib"]
#![allow(clippy::missing_safety_doc)]

use std::ffi::{c_int, c_long, c_void};
use std::sync::OnceLock;

/// The kernel's number of `clock_gettime`.
#[cfg(target_arch = "x86_64")]
const CLOCK_GETTIME: c_long = 228;
#[cfg(target_arch = "aarch64")]
const CLOCK_GETTIME: c_long = 113;

const CLOCK_REALTIME: c_int = 0;
const CLOCK_REALTIME_COARSE: c_int = 5;

#[repr(C)]
pub struct Time {
    seconds: i64,
    /// Nanoseconds, or microseconds in a `timeval`.
    rest: i64,
}

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
}

fn skew() -> i64 {
    static SKEW: OnceLock<Result<i64, String>> = OnceLock::new();
    let read = || {
        let said = std::env::var("SKEW_SECONDS").unwrap_or_default();
        said.parse().map_err(|_| said)
    };
    let in_file = |path: &String| std::fs::read_to_string(path).ok()?.trim().parse().ok();
    match SKEW.get_or_init(read) {
        Ok(seconds) => *seconds,
        Err(path) => in_file(path).unwrap_or(0),
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut Time) -> c_int {
    unsafe {
        let answer = syscall(CLOCK_GETTIME, clock, time);
        if answer == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) {
            (*time).seconds += skew();
        }
        answer as c_int
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn gettimeofday(time: *mut Time, _zone: *mut c_void) -> c_int {
    unsafe {
        let answer = clock_gettime(CLOCK_REALTIME, time);
        if answer == 0 {
            (*time).rest /= 1_000;
        }
        answer
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn time(seconds: *mut i64) -> i64 {
    let mut now = Time { seconds: 0, rest: 0 };
    unsafe {
        clock_gettime(CLOCK_REALTIME, &mut now);
        if !seconds.is_null() {
            *seconds = now.seconds;
        }
    }
    now.seconds
}

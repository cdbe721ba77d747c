//! The calls to the compiler of kernels.

use crate::gpu::{GpuError, libraries};
use cudarc::nvrtc::sys as nvrtc;
use std::ffi::{CString, c_char, c_int};
use std::mem::MaybeUninit;

/// Compiles kernels for an architecture such as `sm_90`.
///
/// # Errors
/// [`GpuError::Source`] with what the compiler says.
#[expect(
    unsafe_code,
    reason = "SAFETY: texts end in a zero, and the compiler writes into room of the length that it asks for"
)]
pub(in crate::gpu) fn compile(
    file: &'static str,
    source: &str,
    architecture: &str,
    defines: &[String],
) -> Result<Vec<u8>, GpuError> {
    // Compiling alone needs no driver: whatever is there.
    libraries::load(&libraries::TOOLKIT[0], i32::MAX)?;
    let failed = |log: String| GpuError::Source { file, log };
    let text = |text: &str| CString::new(text).map_err(|_| failed("a zero in its text".into()));
    let (source, name) = (text(source)?, text(file)?);
    let mut options = vec![
        text(&format!("--gpu-architecture={architecture}"))?,
        text("--std=c++17")?,
    ];
    for define in defines {
        options.push(text(&format!("-D{define}"))?);
    }
    let options: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
    unsafe {
        let mut program = MaybeUninit::uninit();
        nvrtc::nvrtcCreateProgram(
            program.as_mut_ptr(),
            source.as_ptr(),
            name.as_ptr(),
            0,
            std::ptr::null(),
            std::ptr::null(),
        )
        .result()
        .map_err(|error| failed(format!("{error:?}")))?;
        let mut program = program.assume_init();
        let count = c_int::try_from(options.len()).unwrap_or(c_int::MAX);
        let compiled = nvrtc::nvrtcCompileProgram(program, count, options.as_ptr()).result();
        let image = match compiled {
            Ok(()) => read_out(
                |bytes| nvrtc::nvrtcGetCUBINSize(program, bytes),
                |room| nvrtc::nvrtcGetCUBIN(program, room),
            ),
            Err(error) => {
                let log = read_out(
                    |bytes| nvrtc::nvrtcGetProgramLogSize(program, bytes),
                    |room| nvrtc::nvrtcGetProgramLog(program, room),
                )
                .unwrap_or_default();
                let log = String::from_utf8_lossy(&log);
                let log = log.trim_end_matches('\0').trim();
                Err(failed(format!("{log} ({error:?})")))
            }
        };
        let _ = nvrtc::nvrtcDestroyProgram(&raw mut program).result();
        image.and_then(|image| {
            if image.is_empty() {
                Err(failed(format!("nothing came out for {architecture}")))
            } else {
                Ok(image)
            }
        })
    }
}

/// Bytes of a length that is asked for first.
fn read_out(
    length: impl FnOnce(*mut usize) -> nvrtc::nvrtcResult,
    read: impl FnOnce(*mut c_char) -> nvrtc::nvrtcResult,
) -> Result<Vec<u8>, GpuError> {
    let failed = |error| GpuError::Call {
        call: "nvrtcGetCUBIN",
        message: format!("{error:?}"),
    };
    let mut bytes = 0usize;
    length(&raw mut bytes).result().map_err(failed)?;
    let mut room = vec![0u8; bytes];
    read(room.as_mut_ptr().cast()).result().map_err(failed)?;
    Ok(room)
}

/// The version of the compiler, for example `13.0`.
#[expect(
    unsafe_code,
    reason = "SAFETY: the compiler writes the numbers that it is given room for"
)]
pub(in crate::gpu) fn compiler_version() -> String {
    let (mut major, mut minor) = (0, 0);
    let _ = unsafe { nvrtc::nvrtcVersion(&raw mut major, &raw mut minor) }.result();
    format!("{major}.{minor}")
}

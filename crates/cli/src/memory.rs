//! Sizes of memory as people write them.

/// Below this a plain number was hardly meant as bytes.
const MEBIBYTE: f64 = 1_048_576.0;

/// Parses a size such as `8GiB`, `8G`, `512MiB` or bytes.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number
        .parse()
        .map_err(|_| format!("invalid size `{text}`, for example 8GiB"))?;
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "kb" => 1000,
        "m" | "mib" => 1 << 20,
        "mb" => 1_000_000,
        "g" | "gib" => 1 << 30,
        "gb" => 1_000_000_000,
        "t" | "tib" => 1 << 40,
        "tb" => 1_000_000_000_000,
        other => return Err(format!("unknown unit `{other}`: GiB, MiB, GB, …")),
    };
    let bytes = number * factor as f64;
    if unit.is_empty() && bytes < MEBIBYTE {
        return Err(format!("{text} of what? for example {text}GiB"));
    }
    if !(1.0..9e18).contains(&bytes) {
        return Err(format!("invalid size `{text}`: no machine has that"));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked"
    )]
    Ok(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!(size("8GiB"), Ok(8 << 30));
        assert_eq!(size("8g"), Ok(8 << 30));
        assert_eq!(size("1.5 MiB"), Ok(3 << 19));
        assert_eq!(size("2GB"), Ok(2_000_000_000));
        assert_eq!(size("1048576"), Ok(1 << 20));
        assert!(size("8").unwrap_err().contains("8GiB"));
        assert!(size("banana").unwrap_err().contains("invalid size"));
        for wrong in ["", "GiB", "8 bananas", "-1", "0", "1e3", "9999999TB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}

//! What the environment says about the hub, by the names that its Python client uses.

use super::HubError;
use std::path::PathBuf;
use std::time::Duration;

/// Where the hub is, where its cache is, and who asks.
#[derive(Clone, PartialEq, Eq)]
pub struct HubSettings {
    /// `HF_ENDPOINT`, without a slash at its end.
    pub endpoint: String,
    /// `HF_HUB_CACHE`, else `hub` in `HF_HOME`.
    pub cache: PathBuf,
    /// `HF_TOKEN`, else the token file.
    pub token: Option<String>,
    /// `HF_HUB_OFFLINE` or `TRANSFORMERS_OFFLINE`.
    pub offline: bool,
    /// `HF_HUB_DOWNLOAD_TIMEOUT`, else half a minute: how long a transfer may bring next to nothing.
    pub patience: Duration,
}

/// Without the token, so that it is in no log.
impl std::fmt::Debug for HubSettings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("HubSettings")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("offline", &self.offline)
            .field("patience", &self.patience)
            .finish()
    }
}

impl HubSettings {
    /// Reads the environment.
    ///
    /// # Errors
    /// [`HubError::Setting`] for an endpoint that is no address, or where there is no home to put a cache in.
    pub fn from_environment() -> Result<Self, HubError> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    fn from_variables(get: impl Fn(&str) -> Option<String>) -> Result<Self, HubError> {
        let named = |name: &str| get(name).filter(|value| !value.trim().is_empty());
        let on = |name: &str| {
            let value = named(name).map(|value| value.to_ascii_uppercase());
            value.is_some_and(|value| ["1", "ON", "YES", "TRUE"].contains(&value.as_str()))
        };
        let endpoint = named("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        let endpoint = endpoint.trim().trim_end_matches('/').to_owned();
        if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
            return Err(HubError::Setting {
                name: "HF_ENDPOINT",
                problem: format!("`{endpoint}` is not an http(s) address"),
            });
        }
        let home = named("HF_HOME").map(PathBuf::from).or_else(|| {
            let caches = named("XDG_CACHE_HOME").map(PathBuf::from);
            let home = named("HOME").or_else(|| named("USERPROFILE"));
            let caches = caches.or_else(|| home.map(|home| PathBuf::from(home).join(".cache")));
            caches.map(|caches| caches.join("huggingface"))
        });
        let cache = named("HF_HUB_CACHE").or_else(|| named("HUGGINGFACE_HUB_CACHE"));
        let cache = cache
            .map(PathBuf::from)
            .or_else(|| home.as_ref().map(|home| home.join("hub")));
        let Some(cache) = cache else {
            return Err(HubError::Setting {
                name: "HF_HOME",
                problem: "is not set, and there is no home folder".to_owned(),
            });
        };
        let token = named("HF_TOKEN").or_else(|| named("HUGGING_FACE_HUB_TOKEN"));
        let token = token.or_else(|| {
            if on("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
                return None;
            }
            let file = named("HF_TOKEN_PATH").map(PathBuf::from);
            let file = file.or_else(|| home.map(|home| home.join("token")))?;
            std::fs::read_to_string(file).ok()
        });
        let token = token.map(|token| token.trim().to_owned());
        Ok(Self {
            endpoint,
            cache,
            token: token.filter(|token| !token.is_empty()),
            offline: on("HF_HUB_OFFLINE") || on("TRANSFORMERS_OFFLINE"),
            patience: {
                let seconds = named("HF_HUB_DOWNLOAD_TIMEOUT");
                let seconds = seconds.and_then(|seconds| seconds.trim().parse::<u64>().ok());
                Duration::from_secs(seconds.unwrap_or(30).clamp(1, 3600))
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn settings(variables: &[(&str, &str)]) -> Result<HubSettings, HubError> {
        let variables: HashMap<&str, &str> = variables.iter().copied().collect();
        HubSettings::from_variables(|name| variables.get(name).map(|value| (*value).to_owned()))
    }

    #[test]
    fn the_variables_of_the_python_client_are_obeyed() {
        let plain = settings(&[("HOME", "/h")]).unwrap();
        assert_eq!(plain.endpoint, "https://huggingface.co");
        assert_eq!(plain.cache, PathBuf::from("/h/.cache/huggingface/hub"));
        assert!(plain.token.is_none() && !plain.offline);
        let all = settings(&[
            ("HF_HOME", "/hf"),
            ("HF_HUB_CACHE", "/cache"),
            ("HF_TOKEN", " t "),
            ("HF_ENDPOINT", "http://127.0.0.1:9/"),
            ("HF_HUB_OFFLINE", "true"),
        ])
        .unwrap();
        assert_eq!(all.cache, PathBuf::from("/cache"));
        assert_eq!(all.token.as_deref(), Some("t"));
        assert_eq!(all.endpoint, "http://127.0.0.1:9");
        assert!(all.offline);
        assert!(!format!("{all:?}").contains("\"t\""));
        let moved = settings(&[("XDG_CACHE_HOME", "/x")]).unwrap();
        assert_eq!(moved.cache, PathBuf::from("/x/huggingface/hub"));
        assert!(settings(&[("HF_ENDPOINT", "hub.example"), ("HOME", "/h")]).is_err());
        assert!(settings(&[]).is_err());
    }

    #[test]
    fn the_token_file_is_read_unless_that_is_switched_off() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "secret\n").unwrap();
        let home = folder.path().to_str().unwrap();
        let token = |more: &[(&'static str, &'static str)]| {
            settings(&[&[("HF_HOME", home)], more].concat())
                .unwrap()
                .token
        };
        assert_eq!(token(&[]).as_deref(), Some("secret"));
        assert_eq!(token(&[("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
        assert_eq!(token(&[("HF_TOKEN_PATH", "/nowhere")]), None);
    }
}

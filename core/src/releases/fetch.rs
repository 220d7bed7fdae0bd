//! A verified digest -> the archive, in the cache.

use std::io::SeekFrom;

use reqwest::StatusCode;
use reqwest::header::{CONTENT_RANGE, RANGE};
use tokio::fs::{self, OpenOptions};
use tokio::io::{AsyncSeekExt, AsyncWriteExt};

use super::cache::hashed;
use super::verify::why;
use super::{Cache, ReleaseError};
use crate::http;
use crate::resource::RemoteFile;

/// Downloads an archive unless the cache has it, and carries on where an earlier try stopped. `progress` gets the
/// bytes that are here and, where the site says so, how many there will be.
pub async fn fetch(
    file: &RemoteFile,
    digest: &str,
    cache: &Cache,
    mut progress: impl FnMut(u64, Option<u64>),
) -> Result<std::path::PathBuf, ReleaseError> {
    if let Some(path) = cache.checked(digest).await? {
        return Ok(path);
    }
    let _lock = cache.lock().await?;
    // Whoever had the lock may have brought it.
    if let Some(path) = cache.checked(digest).await? {
        return Ok(path);
    }
    let path = cache.archive(digest);
    let partial = path.with_extension("partial");
    let failed = |source| cache.failed(&partial, source);
    fs::create_dir_all(path.parent().unwrap_or(cache.root())).await.map_err(failed)?;
    let url = file.url();
    let resumed = transfer(&url, &partial, cache, &mut progress).await?;
    let mut found = hashed(&partial).await.map_err(failed)?;
    if found != digest && resumed {
        // What was there was of something else.
        fs::remove_file(&partial).await.map_err(failed)?;
        transfer(&url, &partial, cache, &mut progress).await?;
        found = hashed(&partial).await.map_err(failed)?;
    }
    if found != digest {
        fs::remove_file(&partial).await.map_err(failed)?;
        let (said_by, wanted) = (file.said_by().to_owned(), digest.to_owned());
        return Err(ReleaseError::WrongDigest { url, found, said_by, wanted });
    }
    fs::rename(&partial, &path).await.map_err(failed)?;
    Ok(path)
}

/// Brings all of `url` into the file; whether it went on from what was there.
async fn transfer(
    url: &str,
    partial: &std::path::Path,
    cache: &Cache,
    progress: &mut impl FnMut(u64, Option<u64>),
) -> Result<bool, ReleaseError> {
    let failed = |source| cache.failed(partial, source);
    let client = http::site().map_err(|error| ReleaseError::Client(why(&error)))?;
    let unreachable =
        |error: reqwest::Error| ReleaseError::Unreachable { url: url.to_owned(), reason: why(&error) };
    // A file that holds nothing yet is asked for as a whole.
    let mut file =
        OpenOptions::new().create(true).truncate(false).write(true).open(partial).await.map_err(failed)?;
    let mut have = file.metadata().await.map_err(failed)?.len();
    let mut answer = if have > 0 {
        let asked = client.get(url).header(RANGE, format!("bytes={have}-"));
        asked.send().await.map_err(unreachable)?
    } else {
        client.get(url).send().await.map_err(unreachable)?
    };
    let continues = answer.status() == StatusCode::PARTIAL_CONTENT
        && answer
            .headers()
            .get(CONTENT_RANGE)
            .and_then(|range| range.to_str().ok())
            .is_some_and(|range| range.starts_with(&format!("bytes {have}-")));
    if !continues {
        if have > 0 && !answer.status().is_success() || answer.status() == StatusCode::PARTIAL_CONTENT {
            // It has no such range: whatever this is, it is not the beginning of that file.
            answer = client.get(url).send().await.map_err(unreachable)?;
        }
        have = 0;
        file.set_len(0).await.map_err(failed)?;
    }
    if !answer.status().is_success() {
        let status = answer.status().as_u16();
        return Err(ReleaseError::Status { url: url.to_owned(), status });
    }
    let size = answer.content_length().map(|rest| have + rest);
    file.seek(SeekFrom::Start(have)).await.map_err(failed)?;
    progress(have, size);
    loop {
        let broken = |have| ReleaseError::Broken {
            url: url.to_owned(),
            have,
            size: size.map_or_else(|| "unknown".to_owned(), |size| size.to_string()),
        };
        match answer.chunk().await {
            Ok(Some(chunk)) => {
                file.write_all(&chunk).await.map_err(failed)?;
                have += chunk.len() as u64;
                progress(have, size);
            }
            Ok(None) if size.is_none_or(|size| size == have) => break,
            Ok(None) | Err(_) => {
                file.flush().await.map_err(failed)?;
                return Err(broken(have));
            }
        }
    }
    file.sync_all().await.map_err(failed)?;
    Ok(continues)
}

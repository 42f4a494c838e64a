//! A small static server for localhost: files, their types, and byte ranges.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::thread;

use anyhow::{Result, anyhow};
use tiny_http::{HTTPVersion, Header, Method, Request, Response, Server};

/// Enough for a page, its worker and a model read in ranges.
const THREADS: usize = 4;

/// Serves `folder` on localhost in the background, for as long as this process lives; returns the address.
/// Port 0 takes any free one.
pub(crate) fn serve(folder: &Path, port: u16) -> Result<String> {
    let server = Server::http(("127.0.0.1", port)).map_err(|error| anyhow!("port {port}: {error}"))?;
    let port = server.server_addr().to_ip().map_or(port, |address| address.port());
    let server = Arc::new(server);
    for _ in 0..THREADS {
        let (server, folder) = (Arc::clone(&server), folder.to_path_buf());
        thread::spawn(move || {
            for request in server.incoming_requests() {
                // A browser that hangs up in the middle of a file is no concern of ours.
                let _ = answer(&folder, request);
            }
        });
    }
    Ok(format!("http://localhost:{port}/"))
}

fn answer(folder: &Path, request: Request) -> std::io::Result<()> {
    if !matches!(request.method(), Method::Get | Method::Head) {
        return respond(request, Response::empty(405));
    }
    let Some(path) = locate(folder, request.url()) else { return respond(request, Response::empty(404)) };
    let mut file = File::open(&path)?;
    let length = file.metadata()?.len();
    let headers = [
        header("Content-Type", mime(&path)),
        header("Cache-Control", "no-cache"),
        header("Accept-Ranges", "bytes"),
    ];
    let wanted = request.headers().iter().find(|header| header.field.equiv("Range"));
    let (status, start, end) = match wanted.map(|header| range(header.value.as_str(), length)) {
        None => (200, 0, length),
        Some(Some((start, end))) => (206, start, end),
        Some(None) => {
            let unsatisfied = header("Content-Range", &format!("bytes */{length}"));
            return respond(request, Response::empty(416).with_header(unsatisfied));
        }
    };
    file.seek(SeekFrom::Start(start))?;
    let body = file.take(end - start);
    let mut response =
        Response::new(status.into(), headers.to_vec(), body, Some((end - start) as usize), None)
            .with_chunked_threshold(usize::MAX);
    if status == 206 {
        response.add_header(header("Content-Range", &format!("bytes {start}-{}/{length}", end - 1)));
    }
    respond(request, response)
}

/// Answers in HTTP 1.0, after which the connection is closed: tiny_http may leave a new connection waiting for as long as its threads wait
/// for more from old ones, and a browser opens six at once.
fn respond(request: Request, response: Response<impl Read>) -> std::io::Result<()> {
    let has_no_body = *request.method() == Method::Head;
    let mut connection = request.into_writer();
    response.raw_print(&mut connection, HTTPVersion(1, 0), &[], has_no_body, None)?;
    connection.flush()
}

/// The file a URL names, if it is one inside `folder`.
fn locate(folder: &Path, url: &str) -> Option<PathBuf> {
    let path = url.split(['?', '#']).next()?.trim_start_matches('/');
    let relative = Path::new(if path.is_empty() { "index.html" } else { path });
    let inside = relative.components().all(|part| matches!(part, Component::Normal(_)));
    let file = folder.join(relative);
    (inside && file.is_file()).then_some(file)
}

/// `bytes=a-b` or `bytes=a-` as start and end (exclusive); `None` where it cannot be satisfied.
fn range(value: &str, length: u64) -> Option<(u64, u64)> {
    let (start, last) = value.strip_prefix("bytes=")?.split_once('-')?;
    let start: u64 = start.parse().ok()?;
    let end = if last.is_empty() { length } else { last.parse::<u64>().ok()?.checked_add(1)?.min(length) };
    (start < end).then_some((start, end))
}

fn mime(path: &Path) -> &'static str {
    match path.extension().and_then(|ending| ending.to_str()).unwrap_or("") {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "wasm" => "application/wasm",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" | "md" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

fn header(field: &str, value: &str) -> Header {
    Header::from_bytes(field, value).expect("a header of ASCII words")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_at_the_end_of_the_file() {
        assert_eq!(range("bytes=0-3", 10), Some((0, 4)));
        assert_eq!(range("bytes=4-", 10), Some((4, 10)));
        assert_eq!(range("bytes=4-99", 10), Some((4, 10)));
        assert_eq!(range("bytes=10-", 10), None);
        assert_eq!(range("bytes=-5", 10), None);
    }

    #[test]
    fn nothing_outside_the_folder_is_served() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert!(locate(folder, "/Cargo.toml?v=1").is_some());
        assert!(locate(folder, "/../Cargo.toml").is_none());
        assert!(locate(folder, "//etc/passwd").is_none());
    }
}

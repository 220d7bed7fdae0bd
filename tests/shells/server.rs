//! A small HTTP server that can also fail, as sites do.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What a path answers.
#[derive(Clone)]
pub struct Page {
    pub body: Vec<u8>,
    pub status: u16,
    /// Answers a request for the end of the body with that.
    pub ranges: bool,
    /// The connection breaks after this many bytes of the body.
    pub break_after: Option<usize>,
}

impl Page {
    pub fn new(body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), status: 200, ranges: true, break_after: None }
    }
}

#[derive(Default)]
struct Shared {
    pages: BTreeMap<String, Page>,
    /// Each request: its path, and its Range header.
    requests: Vec<(String, Option<String>)>,
    /// `GET`, `PUT` and so on, of each as well.
    methods: Vec<String>,
    /// The lines at its head that begin with `X-`.
    tokens: Vec<Vec<String>>,
}

/// Serves on the loopback until the test ends.
#[derive(Clone)]
pub struct Server {
    pub url: String,
    shared: Arc<Mutex<Shared>>,
}

impl Server {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { url, shared: Arc::default() };
        let shared = Arc::clone(&server.shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&shared);
                // A client that went away is its own affair.
                std::thread::spawn(move || drop(answer(&stream.unwrap(), &shared)));
            }
        });
        server
    }

    /// The same under another address.
    pub fn with_url(&self, url: &str) -> Self {
        Self { url: url.to_owned(), shared: Arc::clone(&self.shared) }
    }

    pub fn serve(&self, path: &str, page: Page) {
        self.shared.lock().unwrap().pages.insert(path.to_owned(), page);
    }

    /// The requests since the last call.
    pub fn requests(&self) -> Vec<(String, Option<String>)> {
        std::mem::take(&mut self.shared.lock().unwrap().requests)
    }

    /// What their heads had of lines that begin with `X-`, since the last call.
    pub fn tokens(&self) -> Vec<Vec<String>> {
        std::mem::take(&mut self.shared.lock().unwrap().tokens)
    }

    /// How they were made, since the last call.
    pub fn methods(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.lock().unwrap().methods)
    }
}

fn answer(mut stream: &TcpStream, shared: &Mutex<Shared>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let (mut range, mut tokens) = (None, Vec::new());
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if line.to_ascii_lowercase().starts_with("x-") {
            tokens.push(line.to_ascii_lowercase());
        }
        if let Some((_, value)) = line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case("range"))
        {
            range = Some(value.to_owned());
        }
    }
    let page = {
        let mut shared = shared.lock().unwrap();
        shared.requests.push((path.clone(), range.clone()));
        shared.tokens.push(tokens);
        shared.methods.push(request.split(' ').next().unwrap_or_default().to_owned());
        shared.pages.get(&path).cloned()
    };
    let page = page.unwrap_or(Page { status: 404, ..Page::new("not here\n") });
    let from = range
        .filter(|_| page.ranges && page.status == 200)
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let length = page.body.len();
    let (status, range_header, body) = match from {
        None => (page.status, String::new(), &page.body[..]),
        Some(from) if from < length => {
            (206, format!("Content-Range: bytes {from}-{}/{length}\r\n", length - 1), &page.body[from..])
        }
        Some(_) => (416, format!("Content-Range: bytes */{length}\r\n"), &page.body[..0]),
    };
    let head = format!(
        "HTTP/1.1 {status} Status\r\nContent-Length: {}\r\n{range_header}Connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body[..page.break_after.unwrap_or(body.len()).min(body.len())])?;
    stream.flush()
}

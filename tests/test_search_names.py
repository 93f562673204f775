"""Names as they are in code are found however they are asked for: another case style, a part, a typo, a pasted line."""

from __future__ import annotations

import pytest
from found import Case, fill, misses, questions
from library import Library

CASES = [
    # Python
    Case(
        "Session store",
        "`SessionStore.evict_expired()` runs every five minutes and must not hold `_lock` while it calls `on_evict`.",
        {"style": "evictExpired", "sentence": "why does SessionStore evict expired entries without holding the lock"},
    ),
    Case(
        "",
        'File "/srv/app/billing/invoice_writer.py", line 88, in render_totals\n'
        "decimal.InvalidOperation: [<class 'decimal.ConversionSyntax'>]",
        {
            "error": "decimal.InvalidOperation: [<class 'decimal.ConversionSyntax'>]",
            "file": "invoice_writer.py",
            "style": "renderTotals",
        },
    ),
    Case(
        "Settings",
        "Settings derive from `pydantic_settings.BaseSettings`; secrets are read from /run/secrets.",
        {"dotted": "pydantic_settings.BaseSettings", "style": "base_settings", "part": "pydantic"},
    ),
    Case(
        "Django scripts",
        "Scripts outside manage.py fail with ImproperlyConfigured: Requested setting INSTALLED_APPS, but settings are "
        "not configured. Set DJANGO_SETTINGS_MODULE first.",
        {
            "error": "django.core.exceptions.ImproperlyConfigured: Requested setting INSTALLED_APPS, but settings are "
            "not configured. You must either define the environment variable",
            "style": "djangoSettingsModule",
            "typo": "ImproperlyConfigurd",
        },
    ),
    Case(
        "Timeouts in tasks",
        "`asyncio.wait_for` swallowed a cancellation before 3.12; we use `asyncio.timeout` instead.",
        {"dotted": "asyncio.wait_for", "style": "waitFor"},
    ),
    Case(
        "Lint rules",
        "`[tool.ruff.lint.per-file-ignores]` turns S101 off below tests.",
        {"dotted": "tool.ruff.lint.per-file-ignores", "part": "per-file ignores", "code": "S101"},
    ),
    Case(
        "Packaging",
        "The wheel lacked the templates until MANIFEST.in had `recursive-include src/pkg/templates *.j2`.",
        {"file": "MANIFEST.in", "style": "recursiveInclude", "sentence": "the wheel lacks its templates"},
    ),
    Case(
        "Lazy loading",
        "sqlalchemy.orm.exc.DetachedInstanceError comes from reading `order.lines` after the session closed; "
        "use `selectinload(Order.lines)`.",
        {
            "error": "sqlalchemy.orm.exc.DetachedInstanceError: Parent instance <Order at 0x7f> is not bound to a "
            "Session; lazy load operation of attribute 'lines' cannot proceed",
            "style": "SelectInLoad",
            "part": "DetachedInstance",
        },
    ),
    Case(
        "Queue workers",
        "celery -A shop.tasks worker --pool=gevent --concurrency=40 leaks; `worker_max_tasks_per_child=200` helps.",
        {
            "command": "celery -A shop.tasks worker --pool=gevent",
            "style": "workerMaxTasksPerChild",
            "typo": "celrey worker leaks",
        },
    ),
    Case(
        "Fixtures",
        "tests/conftest.py has `freeze_clock`; never patch `time.monotonic` by hand.",
        {"file": "conftest.py", "style": "FreezeClock", "dotted": "time.monotonic"},
    ),
    # JavaScript and TypeScript
    Case(
        "User menu",
        "`useOutsideClick(ref, onClose)` closes the UserMenuDropdown; listeners are on pointerdown.",
        {"style": "use_outside_click", "glued": "usermenudropdown", "part": "outside click"},
    ),
    Case(
        "",
        "TypeError: Cannot read properties of undefined (reading 'customerAddress')\n"
        "    at formatShipment (src/checkout/formatShipment.ts:31:18)",
        {
            "error": "TypeError: Cannot read properties of undefined (reading 'customerAddress')",
            "file": "formatShipment.ts",
            "style": "customer-address",
        },
    ),
    Case(
        "Type checks",
        "TS2345: Argument of type 'string | undefined' is not assignable: `noUncheckedIndexedAccess` is on by choice.",
        {"code": "TS2345", "style": "no-unchecked-indexed-access", "glued": "nouncheckedindexedaccess"},
    ),
    Case(
        "Hydration",
        "Hydration failed because the initial UI does not match: `formatDistanceToNow` differs by time zone. Render it "
        "in `<ClientOnly>`.",
        {
            "error": "Error: Hydration failed because the initial UI does not match what was rendered on the server.",
            "style": "format_distance_to_now",
            "typo": "hydartion failed",
        },
    ),
    Case(
        "Web build",
        "`npm ci --legacy-peer-deps` until eslint-plugin-react-hooks allows 9; else ERESOLVE.",
        {"command": "npm ci --legacy-peer-deps", "code": "ERESOLVE", "part": "react hooks plugin"},
    ),
    Case(
        "Bundler",
        "vite.config.ts: `optimizeDeps.exclude` lists @acme/icons, or the dev server serves it twice.",
        {"file": "vite.config.ts", "dotted": "optimizeDeps.exclude", "style": "optimize_deps"},
    ),
    Case(
        "Query cache",
        "queryClient.invalidateQueries(['cart']) after each mutation; setQueryData alone left stale totals.",
        {"dotted": "queryClient.invalidateQueries", "style": "set_query_data", "typo": "invaldateQueries"},
    ),
    Case(
        "Node memory",
        "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory. "
        "NODE_OPTIONS=--max-old-space-size=4096 in CI.",
        {
            "error": "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory",
            "env": "NODE_OPTIONS",
            "part": "max old space size",
        },
    ),
    # Rust
    Case(
        "Borrowing in the parser",
        "error[E0502]: cannot borrow `self.tokens` as mutable: `peek_kind` returns a copy now.",
        {
            "error": "error[E0502]: cannot borrow `self.tokens` as mutable because it is also borrowed as immutable",
            "code": "E0502",
            "style": "peekKind",
        },
    ),
    Case(
        "Async traits",
        "`tokio::task::spawn_blocking` for zstd; `Handle::block_on` inside a runtime panics.",
        {"dotted": "tokio::task::spawn_blocking", "style": "SpawnBlocking", "part": "block_on panics"},
    ),
    Case(
        "",
        "thread 'main' panicked at crates/store/src/segment_reader.rs:212:14:\n"
        "called `Option::unwrap()` on a `None` value",
        {
            "error": "thread 'main' panicked at crates/store/src/segment_reader.rs:212:14",
            "file": "segment_reader.rs",
            "style": "SegmentReader",
        },
    ),
    Case(
        "Features",
        "Cargo.toml: `default-features = false` for reqwest, with rustls-tls; openssl-sys does not build on Alpine.",
        {"file": "Cargo.toml reqwest", "style": "rustlsTls", "typo": "reqwset openssl"},
    ),
    Case(
        "Clippy",
        "`#![deny(clippy::unwrap_used)]` everywhere but in build.rs; `expect` with a reason is fine.",
        {"dotted": "clippy::unwrap_used", "file": "build.rs", "sentence": "may we use unwrap in Rust code"},
    ),
    # Go
    Case(
        "Contexts",
        "context.WithTimeoutCause gives the reason; plain `context deadline exceeded` told nobody which call it was.",
        {
            "error": "rpc error: code = DeadlineExceeded desc = context deadline exceeded",
            "dotted": "context.WithTimeoutCause",
            "style": "with_timeout_cause",
        },
    ),
    Case(
        "",
        "panic: assignment to entry in nil map\ngoroutine 41 [running]:\nmain.(*RateLimiter).allowBurst(...)\n"
        "\t/src/internal/ratelimit/limiter_bucket.go:57",
        {"error": "panic: assignment to entry in nil map", "file": "limiter_bucket.go", "style": "allow_burst"},
    ),
    Case(
        "Module proxy",
        "GOFLAGS=-mod=vendor in CI; GOPRIVATE=git.acme.test/* or `go mod tidy` asks the public proxy.",
        {"env": "GOPRIVATE", "command": "go mod tidy", "sentence": "go asks the public proxy for our modules"},
    ),
    Case(
        "JSON in Go",
        '`json:"createdAt,omitempty"` drops zero times only with omitzero; use *time.Time in OrderPayload.',
        {"style": "created_at", "part": "omitzero", "glued": "orderpayload"},
    ),
    # C and C++
    Case(
        "Linking",
        "undefined reference to `absl::lts_20230802::StrCat`: mixed C++14 and C++17; CMAKE_CXX_STANDARD must be 17.",
        {
            "error": "/usr/bin/ld: main.o: undefined reference to `absl::lts_20230802::StrCat'",
            "style": "cmakeCxxStandard",
            "sentence": "which C++ standard do we build with",
        },
    ),
    Case(
        "Sanitizers",
        "AddressSanitizer: heap-use-after-free in RingBuffer::push_back; ASAN_OPTIONS=detect_leaks=0 in the sandbox.",
        {
            "error": "==4242==ERROR: AddressSanitizer: heap-use-after-free on address 0x602000000010",
            "env": "ASAN_OPTIONS",
            "dotted": "RingBuffer::push_back",
            "style": "pushBack",
        },
    ),
    Case(
        "Headers",
        "include/acme/frame_codec.hpp is the only public header; detail/ may change at any time.",
        {"file": "frame_codec.hpp", "style": "FrameCodec", "part": "codec header"},
    ),
    # Shell
    Case(
        "Release script",
        "scripts/cut-release.sh starts with `set -euo pipefail`; failing `gh release create` left a tag alone.",
        {"file": "cut-release.sh", "command": "gh release create", "style": "cutRelease"},
    ),
    Case(
        "Disk full",
        "`journalctl --vacuum-size=200M` and `docker system prune -af --volumes` free the build machine.",
        {"command": "docker system prune -af", "part": "vacuum size", "typo": "jounralctl vacuum"},
    ),
    Case(
        "",
        "rsync: connection unexpectedly closed (0 bytes received so far) [sender]\n"
        "rsync error: error in rsync protocol data stream (code 12) at io.c(231)",
        {
            "error": "rsync error: error in rsync protocol data stream (code 12) at io.c(231) [sender=3.2.7]",
            "sentence": "rsync connection closed unexpectedly",
        },
    ),
    Case(
        "SSH keys",
        "ssh-keygen -t ed25519 -C deploy; the old RSA key is refused: `no mutual signature algorithm`.",
        {"command": "ssh-keygen -t ed25519", "error": "sign_and_send_pubkey: no mutual signature supported"},
    ),
    # SQL
    Case(
        "Order index",
        "CREATE INDEX CONCURRENTLY idx_orders_customer_created ON orders (customer_id, created_at DESC);",
        {"style": "idxOrdersCustomerCreated", "part": "orders customer index", "command": "CREATE INDEX CONCURRENTLY"},
    ),
    Case(
        "",
        'psycopg.errors.UniqueViolation: duplicate key value violates unique constraint "uq_invoice_number_tenant"\n'
        "DETAIL:  Key (invoice_number, tenant_id)=(A-17, 4) already exists. SQLSTATE 23505",
        {
            "error": 'duplicate key value violates unique constraint "uq_invoice_number_tenant"',
            "code": "SQLSTATE 23505",
            "style": "uqInvoiceNumberTenant",
        },
    ),
    Case(
        "Deadlocks",
        "SQLSTATE 40P01 in `merge_ledger_entries`: lock rows in order of ledger_id with SELECT ... FOR UPDATE.",
        {"code": "40P01", "style": "MergeLedgerEntries", "command": "SELECT FOR UPDATE"},
    ),
    Case(
        "Migrations",
        "alembic upgrade head; revision 9f3c2e7a1b4d must run with lock_timeout = '2s'.",
        {"command": "alembic upgrade head", "hash": "9f3c2e7a1b4d", "style": "lockTimeout"},
    ),
    # Kubernetes and the cloud
    Case(
        "",
        "Warning  BackOff  kubelet  Back-off restarting failed container ingest in pod "
        "telemetry-ingest-7d9c6b5f4-x2lqp_prod(…)\nReason: CrashLoopBackOff, OOMKilled exit code 137",
        {
            "error": "Back-off restarting failed container ingest in pod telemetry-ingest-7d9c6b5f4-x2lqp",
            "style": "crash_loop_back_off",
            "part": "telemetry ingest pod",
        },
    ),
    Case(
        "Probes",
        "livenessProbe.initialDelaySeconds is 40 for the JVM pods; readinessProbe fails while Flyway runs.",
        {"dotted": "livenessProbe.initialDelaySeconds", "style": "readiness probe", "glued": "initialdelayseconds"},
    ),
    Case(
        "Ingress limits",
        "nginx.ingress.kubernetes.io/proxy-body-size: 64m, else 413 Request Entity Too Large on uploads.",
        {
            "dotted": "nginx.ingress.kubernetes.io/proxy-body-size",
            "error": "<html><title>413 Request Entity Too Large</title>",
            "style": "proxyBodySize",
        },
    ),
    Case(
        "Rollouts",
        "`kubectl rollout undo deployment/cart-api --to-revision=14` and then helm must not upgrade until Monday.",
        {"command": "kubectl rollout undo deployment/cart-api", "style": "cartApi", "typo": "kubeclt rollout undo"},
    ),
    Case(
        "Terraform state",
        "Error acquiring the state lock: `terraform force-unlock` with the id from DynamoDB table tf-locks-eu.",
        {
            "error": "Error: Error acquiring the state lock ConditionalCheckFailedException",
            "command": "terraform force-unlock",
            "style": "tf_locks_eu",
        },
    ),
    Case(
        "Bucket policy",
        "arn:aws:s3:::acme-raw-events allows s3:PutObject only with `x-amz-server-side-encryption: aws:kms`.",
        {"part": "acme-raw-events", "style": "putObject", "sentence": "which encryption does the events bucket need"},
    ),
    # environment, versions, hashes, URLs
    Case(
        "Feature flags",
        "CHECKOUT_NEW_TAX_ENGINE=1 turns the new tax engine on; it is read once at start.",
        {"env": "CHECKOUT_NEW_TAX_ENGINE", "style": "checkoutNewTaxEngine", "part": "new tax engine"},
    ),
    Case(
        "Database address",
        "DATABASE_URL points at pgbouncer:6432; migrations need DATABASE_DIRECT_URL.",
        {"env": "DATABASE_DIRECT_URL", "style": "databaseDirectUrl", "typo": "pgbuoncer"},
    ),
    Case(
        "",
        "export OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4317 made the traces arrive",
        {"env": "OTEL_EXPORTER_OTLP_ENDPOINT", "style": "otelExporterOtlpEndpoint", "part": "otlp endpoint"},
    ),
    Case(
        "Broken numpy",
        "numpy 2.1.3 breaks our ABI: stay at numpy==1.26.4 until faiss has wheels.",
        {"number": "numpy 1.26.4", "sentence": "which numpy version must we stay at", "part": "faiss wheels"},
    ),
    Case(
        "OpenSSL",
        "Base image moved from openssl 3.0.13 to 3.2.1 for CVE-2024-0727.",
        {"code": "CVE-2024-0727", "number": "openssl 3.2.1"},
    ),
    Case(
        "Regression",
        "git bisect: 4be1c09d7f is the first bad commit; it made `normalizePhone` strip the plus sign.",
        {"hash": "4be1c09d7f", "style": "normalize_phone", "command": "git bisect"},
    ),
    Case(
        "Image digest",
        "Pinned: registry.acme.test/edge-proxy@sha256:0a1b2c3d4e5f60718293a4b5c6d7e8f9.",
        {
            "hash": "sha256:0a1b2c3d4e5f60718293a4b5c6d7e8f9",
            "url": "registry.acme.test/edge-proxy",
            "style": "edgeProxy",
        },
    ),
    Case(
        "Partner API",
        "https://api.partner.test/v3/shipments/{id}/labels answers 202 first; poll Location.",
        {"url": "https://api.partner.test/v3/shipments/42/labels", "part": "shipments labels"},
    ),
    Case(
        "Dashboards",
        "Latency board: https://grafana.acme.test/d/k8sApiLat/api-latency?orgId=2",
        {"url": "grafana.acme.test/d/k8sApiLat", "part": "api latency grafana"},
    ),
    Case(
        "Local service",
        "The stub listens on http://localhost:8099/healthz; port 8098 is the debugger's.",
        {"url": "http://localhost:8099/healthz", "part": "healthz"},
    ),
    Case(
        "Session id",
        "Trace 550e8400-e29b-41d4-a716-446655440000 shows the double charge.",
        {"hash": "550e8400-e29b-41d4-a716-446655440000", "sentence": "which trace shows the double charge"},
    ),
    # paths and odd names
    Case(
        "",
        "edited packages/web/src/components/DataGrid/useColumnResize.test.tsx",
        {
            "file": "useColumnResize.test.tsx",
            "style": "use_column_resize",
            "part": "column resize",
        },
    ),
    Case(
        "Windows paths",
        r"The installer writes C:\ProgramData\Acme\agent.ini and not %APPDATA%, as services have no roaming profile.",
        {"file": "agent.ini", "style": "program data", "sentence": "where does the Windows installer write its ini"},
    ),
    Case(
        "Hidden file",
        ".dockerignore must list node_modules and .venv: the context was 2 GB.",
        {"file": ".dockerignore", "style": "nodeModules", "typo": "dockerignroe"},
    ),
    Case(
        "Workflow",
        ".github/workflows/nightly-e2e.yml runs at 03:00 with `concurrency: e2e-${{ github.ref }}`.",
        {"file": "nightly-e2e.yml", "dotted": "github.ref", "part": "nightly e2e"},
    ),
    Case(
        "HTTP client",
        "XMLHttpRequestFactory is gone; `HTTPClientPool` in http_client_pool.py has keep-alive.",
        {"style": "xml_http_request_factory", "glued": "httpclientpool", "file": "http_client_pool.py"},
    ),
    Case(
        "Java services",
        "org.springframework.beans.factory.NoSuchBeanDefinitionException after the move of @ComponentScan.",
        {
            "dotted": "org.springframework.beans.factory.NoSuchBeanDefinitionException",
            "style": "no_such_bean_definition",
            "typo": "NoSuchBeanDefinitonException",
        },
    ),
    Case(
        "Protocol buffers",
        "order_events.proto: field 7 `legacy_total_cents` is reserved; buf breaking guards it.",
        {"file": "order_events.proto", "style": "legacyTotalCents", "command": "buf breaking"},
    ),
    Case(
        "Errno",
        "EADDRINUSE 0.0.0.0:5173 on restart: an orphaned dev server; `lsof -ti :5173 | xargs kill`.",
        {
            "code": "EADDRINUSE",
            "command": "lsof -ti :5173",
            "error": "Error: listen EADDRINUSE: address already in use",
        },
    ),
    Case(
        "Git hooks",
        "core.hooksPath=.githooks; `pre-push` runs `make lint-changed`.",
        {"dotted": "core.hooksPath", "style": "hooks_path", "command": "make lint-changed"},
    ),
]
ALSO = [  # (kind, question, beginning of the title)
    ("typo", "SesionStore", "Session store"),
    ("typo", "evict_expird", "Session store"),
    ("typo", "evictExpird", "Session store"),
    ("typo", "invoice_writter.py", "File"),
    ("typo", "BaseSetings", "Settings"),
    ("typo", "DetachedInstnaceError", "Lazy loading"),
    ("typo", "usrMenuDropdown", "User menu"),
    ("typo", "no_unchecked_indexed_acces", "Type checks"),
    ("typo", "SegmentReder", "thread 'main'"),
    ("typo", "mergeLedgerEntires", "Deadlocks"),
    ("typo", "CrashLoopBackof", "Warning"),
    ("typo", "OOMKiled", "Warning"),
    ("typo", "livenessProb", "Probes"),
    ("typo", "CHECKOUT_NEW_TAX_ENGIN", "Feature flags"),
    ("typo", "useColumnReisze", "edited"),
    ("typo", "time.monotnic", "Fixtures"),
    ("typo", "DjangoSettingsModul", "Django scripts"),
    ("typo", "asyncio.wait_fro", "Timeouts in tasks"),
    ("typo", "eslint-plugin-react-hoks", "Web build"),
    ("typo", "alembic upgrad head", "Migrations"),
    ("typo", "FrameCodc", "Headers"),
    ("typo", "otlp endpoit", "export OTEL"),
    ("kebab", "evict-expired", "Session store"),
    ("kebab", "invoice-writer", "File"),
    ("kebab", "use-outside-click", "User menu"),
    ("kebab", "user-menu-dropdown", "User menu"),
    ("kebab", "format-shipment", "TypeError: Cannot"),
    ("kebab", "invalidate-queries", "Query cache"),
    ("kebab", "peek-kind", "Borrowing"),
    ("kebab", "segment-reader", "thread 'main'"),
    ("kebab", "ring-buffer", "Sanitizers"),
    ("kebab", "uq-invoice-number-tenant", "psycopg"),
    ("kebab", "crash-loop-backoff", "Warning"),
    ("kebab", "liveness-probe", "Probes"),
    ("kebab", "checkout-new-tax-engine", "Feature flags"),
    ("kebab", "use-column-resize", "edited"),
    ("kebab", "http-client-pool", "HTTP client"),
    ("kebab", "order-events", "Protocol buffers"),
    ("kebab", "freeze-clock", "Fixtures"),
    ("kebab", "cmake-cxx-standard", "Linking"),
    ("glued", "sessionstore", "Session store"),
    ("glued", "invoicewriter", "File"),
    ("glued", "basesettings", "Settings"),
    ("glued", "detachedinstanceerror", "Lazy loading"),
    ("glued", "invalidatequeries", "Query cache"),
    ("glued", "spawnblocking", "Async traits"),
    ("glued", "segmentreader", "thread 'main'"),
    ("glued", "ratelimiter", "panic: assignment"),
    ("glued", "withtimeoutcause", "Contexts"),
    ("glued", "uniqueviolation", "psycopg"),
    ("glued", "checkoutnewtaxengine", "Feature flags"),
    ("glued", "databasedirecturl", "Database address"),
    ("glued", "usecolumnresize", "edited"),
    ("glued", "nosuchbeandefinitionexception", "Java services"),
    ("glued", "hookspath", "Git hooks"),
    ("hash", "4be1c09", "Regression"),
    ("hash", "4be1c09d7f12ab34cd56", "Regression"),
    ("hash", "0a1b2c3d4e5f", "Image digest"),
    ("hash", "sha256:0a1b2c3d", "Image digest"),
    ("hash", "9f3c2e7a", "Migrations"),
    ("hash", "550e8400", "Session id"),
    ("hash", "550e8400e29b41d4a716446655440000", "Session id"),
    ("number", "numpy==1.26", "Broken numpy"),
    ("number", "2024-0727", "OpenSSL"),
    ("number", "port 5173", "Errno"),
    ("number", "TS-2345", "Type checks"),
    ("number", "8099", "Local service"),
    ("number", "exit code 137", "Warning"),
    ("words", "invoice writer traceback", "File"),
    ("words", "detached instance error", "Lazy loading"),
    ("words", "legacy peer deps", "Web build"),
    ("words", "spawn blocking", "Async traits"),
    ("words", "rate limiter burst", "panic: assignment"),
    ("words", "heap use after free", "Sanitizers"),
    ("words", "unique violation", "psycopg"),
    ("words", "oom killed", "Warning"),
    ("words", "improperly configured", "Django scripts"),
    ("words", "data grid column resize test", "edited"),
    ("words", "asyncio wait for cancellation", "Timeouts in tasks"),
    ("words", "vite config", "Bundler"),
]
DECOYS = [
    "Session storage: `SessionStorage.evict_all()` empties everything at logout, lock or not.",
    "Invoices: invoice_reader.py reads totals; decimal places are two. render_lines is tested.",
    "Base class: BaseSerializer and base_setting are of the old framework.",
    "Django: installed apps are sorted; settings live in settings/base.py and are configured per host.",
    "Tasks: asyncio.wait and asyncio.gather are for groups; wait a little for the others.",
    "Ruff: tool.ruff.format has no settings; ignore nothing per directory.",
    "Wheel: build with uv build; include the licence.",
    "ORM: sessions are scoped to a request; load lines lazily; instances are plain.",
    "Workers: worker count is the number of cores; max tasks is unlimited elsewhere.",
    "Clock: the clock of the office is wrong; time stands still.",
    "Menus: the admin menu closes on Escape. UserMenuItem is a link; click inside keeps it.",
    "Addresses: customer and address are tables; cannot be undefined; reading is cheap.",
    "Types: TS2339 property does not exist; TS2322 type is not assignable to type string.",
    "Dates: formatDistance and formatRelative are of the date library; the server renders in UTC.",
    "Install: npm install and npm ci differ; peer dependencies are checked.",
    "Config: webpack.config.js is gone; rollup.config.ts too; exclude is a list.",
    "Client: queryClient.clear() at logout; queries of the cart are paged.",
    "Memory: heap profiles are in /tmp; old space is not new space; Python has no limit.",
    "Borrow checker: error[E0499] second mutable borrow; error[E0505] move out while borrowed.",
    "Tokio: tokio::spawn for all else; task::yield_now is never needed.",
    "Segments: segment_writer.rs writes; the writer panicked never; Option is idiomatic.",
    "Dependencies: package.toml? No: Cargo.lock is committed, with default settings.",
    "Go contexts: context.WithCancel is enough; code must pass the context on.",
    "Limits: limiter.go is simple; RateLimit headers are sent; allow lists are short.",
    "Proxy: the HTTP proxy is public; go through it for mail.",
    "Payloads: CustomerPayload has created and updated; omit empty lists.",
    "Linker: undefined symbols come from old objects; references are checked; C++20 is far off.",
    "Buffers: RingBuffer::pop_front is lock free; push and back are methods of vector.",
    "Codecs: frame_decoder.hpp and audio_codec.hpp are private headers.",
    "Scripts: scripts/cut-video.sh and scripts/release-notes.sh; releases are created on Friday.",
    "Docker: docker compose up -d; docker image prune; the system is Debian.",
    "Copying: scp works; the protocol is SSH; errors have codes; a stream of data.",
    "Keys: ssh-add -l lists keys; algorithms are modern; signature checks are on.",
    "Indexes: idx_orders_status and idx_customers_created exist; create tables in migrations.",
    "Constraints: uq_invoice_number and uq_tenant_name are unique; keys never repeat; SQLSTATE 23503.",
    "Ledger: merge_ledgers is a script; entries are locked; SQLSTATE 40001 is retried.",
    "Revisions: 9f3c2e7a1b4e and 8f3c2e7a1b4d are revisions; alembic downgrade is forbidden; head moves.",
    "Pods: telemetry-export-7d9c6b5f4-x2lqm restarts; kubelet is fine; containers fail; crash once.",
    "Delays: startupProbe.periodSeconds is 10; initial delays are short; probes are cheap.",
    "Ingress: nginx.ingress.kubernetes.io/proxy-read-timeout: 60; body and size are limited.",
    "Helm: kubectl rollout status deployment/cart-web; undo by hand; API of the cart.",
    "State: terraform state list; locks in tf-locks-us; error handling is poor.",
    "Buckets: arn:aws:s3:::acme-raw-images allows s3:GetObject; server side events.",
    "Flags: CHECKOUT_OLD_TAX_ENGINE is gone; CHECKOUT_NEW_CART=1; new engine of the bus.",
    "URLs: DATABASE_REPLICA_URL for reads; direct flights; DATABASE_NAME is acme.",
    "Tracing: OTEL_EXPORTER_JAEGER_ENDPOINT was removed; OTEL_SERVICE_NAME is set; collectors restart.",
    "Numbers: pandas 2.1.3 and scipy 1.26.4 are fine; wheels turn.",
    "TLS: openssl 3.0.14 in tests; CVE-2024-0728 does not concern us; CVE-2023-0727 neither.",
    "Commits: 4be1c09d7e and 4ce1c09d7f are good commits; git rebase, git blame; normalizeEmail lowers.",
    "Images: registry.acme.test/edge-cache@sha256:0a1b2c3d4e5f60718293a4b5c6d7e8fa is older; proxies.",
    "API: https://api.partner.test/v2/shipments/{id} answers 200; labels are printed.",
    "Boards: https://grafana.acme.test/d/dbLat/db-latency?orgId=2 is of the database.",
    "Ports: http://localhost:8097/ready and http://localhost:9099/health are others.",
    "Traces: 550e8400-e29b-41d4-a716-446655440001 is a fine trace; charges are single.",
    "Grid: packages/web/src/components/DataGrid/useColumnSort.test.tsx sorts; resize by hand.",
    r"Unix paths: /etc/acme/agent.conf is read; the program has data; C:\Users\Acme\client.ini.",
    "Ignored: .gitignore and .eslintignore; node versions; modules are ES.",
    "Workflows: .github/workflows/nightly-lint.yml and weekly-e2e.yaml; references are tags.",
    "Factories: XMLParserFactory stays; http_client_mock.py; HTTPServerPool; clients pool their cars.",
    "Spring: org.springframework.beans.factory.BeanCreationException at start; definitions of beans.",
    "Messages: order_commands.proto; field 8 legacy_total; total cents; breaking news.",
    "System errors: ECONNREFUSED and EPIPE are retried; addresses in use by others; kill with care.",
    "Git: core.autocrlf=false; hooks run by hand; make lint; paths have no spaces.",
]
GOOD_OVERALL, GOOD_EACH = 0.95, 0.9


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, int], dict[str, list[str]]]:
    """How many questions of each kind were asked, and which were not answered among the first hits."""
    library = Library(tmp_path_factory.mktemp("names"))
    fill(library, CASES, DECOYS)
    return misses(library, [*questions(CASES), *ALSO])


def test_names_are_found_however_they_are_asked_for(
    answers: tuple[dict[str, int], dict[str, list[str]]],
) -> None:
    asked, missed = answers
    lost = [f"{kind}: {one}" for kind, ones in missed.items() for one in ones]

    assert len(CASES) >= 60
    assert len(lost) <= (1 - GOOD_OVERALL) * sum(asked.values()), "\n".join(lost)


@pytest.mark.parametrize("kind", sorted({kind for kind, _, _ in [*questions(CASES), *ALSO]}))
def test_each_way_to_ask_for_a_name_works(answers: tuple[dict[str, int], dict[str, list[str]]], kind: str) -> None:
    asked, missed = answers

    assert len(missed.get(kind, ())) <= (1 - GOOD_EACH) * asked[kind], "\n".join(missed[kind])

"""Chinese, Japanese and Korean: questions as people ask them find pages that say it in other words."""

from __future__ import annotations

from pathlib import Path

import pytest
from found import Case, fill, misses, questions
from library import Library

CASES = [
    # simplified Chinese
    Case("缓存", "缓存过期时间设为十分钟，避免热点数据击穿。", {"zh": "为什么缓存的过期时间是十分钟？"}),
    Case(
        "登录",
        "登录失败五次后锁定账户半小时，由风控服务解锁。",
        {"zh": "账户被锁定了怎么办", "mixed": "login 账户锁定"},
    ),
    Case("迁移", "数据库迁移必须先在影子库上执行，然后再上线。", {"zh": "上线之前数据库迁移要在哪里执行？"}),
    Case("消息队列", "消息重复消费：消费者用幂等键去重，不依赖队列本身。", {"zh": "重复消费的问题我们是怎么解决的"}),
    Case("部署", "生产环境每周二发布，回滚脚本在发布机上。", {"zh": "什么时候发布到生产环境", "part": "回滚"}),
    Case("日志", "日志里不得出现手机号，脱敏在网关完成。", {"zh": "手机号在哪里脱敏？", "part": "手机号"}),
    Case("", "报错：连接池耗尽，最大连接数二十，等待超时三十秒", {"zh": "连接池为什么会耗尽", "part": "最大连接数"}),
    Case("支付", "退款走异步通知，签名校验失败时直接丢弃。", {"zh": "退款通知的签名校验失败会怎样"}),
    Case("搜索", "分词使用二元切分，停用词不入索引。", {"zh": "搜索的分词方式是什么", "part": "停用词"}),
    Case("权限", "管理员角色不能删除审计记录，只有超级管理员可以归档。", {"zh": "谁可以归档审计记录"}),
    Case("前端", "首屏渲染慢是因为字体文件阻塞，改为预加载。", {"zh": "首屏为什么渲染很慢？"}),
    Case("定时任务", "对账任务凌晨三点运行，节假日顺延一天。", {"zh": "对账几点运行", "part": "节假日"}),
    Case("接口", "分页接口用游标而不是偏移量，深翻页会拖垮主库。", {"zh": "分页为什么不用偏移量"}),
    Case("测试", "集成测试依赖容器里的真实数据库，不准用模拟对象。", {"zh": "可以用模拟对象写集成测试吗"}),
    Case("加密", "密钥轮换周期九十天，旧密钥保留只读三十天。", {"zh": "旧的密钥要保留多久", "part": "密钥轮换"}),
    # traditional Chinese
    Case("備份", "資料庫備份存放於異地機房，每晚加密後上傳。", {"zh-hant": "資料庫的備份放在哪裡？"}),
    Case("憑證", "憑證到期前十四天自動更新，失敗時通知值班人員。", {"zh-hant": "憑證到期之前會自動更新嗎"}),
    Case("物流", "物流單號由倉儲系統產生，訂單服務只保存副本。", {"zh-hant": "物流單號是誰產生的"}),
    Case("", "錯誤訊息：記憶體不足，編譯器被系統終止，需增加交換空間", {"zh-hant": "編譯時記憶體不足怎麼處理"}),
    Case("版本控制", "合併請求需兩位審查者同意，禁止強制推送主幹。", {"zh-hant": "合併請求需要幾位審查者"}),
    Case("監控", "警報門檻為錯誤率百分之一，持續五分鐘才觸發。", {"zh-hant": "警報在什麼門檻觸發"}),
    Case("語系", "介面翻譯檔由翻譯平台匯出，請勿手動修改。", {"zh-hant": "翻譯檔可以手動修改嗎"}),
    # Japanese
    Case(
        "認証",
        "認証トークンの有効期限は一時間で、更新トークンは三十日間有効です。",
        {"ja": "トークンの有効期限はどれくらいですか"},
    ),
    Case("決済", "決済サーバーが応答しない場合は三回まで再試行する。", {"ja": "決済サーバーの再試行は何回？"}),
    Case(
        "設定",
        "設定ファイルは起動時に一度だけ読み込まれる。変更後は再起動が必要。",
        {"ja": "設定ファイルを変更したら再起動は必要ですか"},
    ),
    Case(
        "在庫", "在庫の引き当ては注文確定の前に行い、十五分で解放する。", {"ja": "在庫の引き当てはいつ解放されますか"}
    ),
    Case(
        "バッチ",
        "夜間バッチは二時に開始し、失敗したら翌朝に手動で再実行する。",
        {"ja": "夜間バッチが失敗したときの手順", "kana": "バッチ 再実行"},
    ),
    Case(
        "画像",
        "サムネイルはアップロード直後に非同期で生成される。",
        {"ja": "サムネイルはいつ生成されるの", "kana": "ｻﾑﾈｲﾙ"},
    ),
    Case(
        "",
        "エラー: メモリリークを検出、ワーカープロセスを再起動しました",
        {"ja": "メモリリークが検出されたのはどこ", "kana": "ﾒﾓﾘﾘｰｸ"},
    ),
    Case(
        "検索画面",
        "検索フォームのデバウンスは三百ミリ秒にした。",
        {"ja": "デバウンスは何ミリ秒？", "kana": "デバウンス"},
    ),
    Case(
        "メール",
        "メール配信は外部サービスに委託し、バウンスは自動で停止リストに入る。",
        {"ja": "バウンスしたメールはどうなる", "kana": "停止リスト"},
    ),
    Case(
        "テスト方針",
        "結合テストではモックを使わず、コンテナのデータベースに接続する。",
        {"ja": "結合テストでモックを使ってもいい？"},
    ),
    Case("命名", "変数名は英語で、コメントは日本語で書く。", {"ja": "コメントは何語で書きますか"}),
    Case(
        "ログ",
        "個人情報はログに出力しない。マスキングはミドルウェアで行う。",
        {"ja": "個人情報のマスキングはどこで行うか", "kana": "ミドルウェア"},
    ),
    Case("締め処理", "月次の締め処理は経理の承認を待ってから実行される。", {"ja": "締め処理には誰の承認がいるか"}),
    Case(
        "文字化け",
        "ＣＳＶの文字化けは、Ｓｈｉｆｔ＿ＪＩＳで書き出すと直った。",
        {"ja": "CSVの文字化けを直すには", "mixed": "Shift_JIS 文字化け"},
    ),
    Case("ひらがな", "ふりがなはひらがなのみ、かたかなは受け付けない。", {"ja": "ふりがなにかたかなは使えますか"}),
    # Korean
    Case("배포", "운영 서버 배포는 화요일 오전에만 진행합니다.", {"ko": "운영 서버에 배포는 언제 진행하나요?"}),
    Case(
        "로그인",
        "로그인에 다섯 번 실패하면 계정이 잠기고 관리자가 해제합니다.",
        {"ko": "잠긴 계정은 누가 해제하나요", "part": "계정"},
    ),
    Case("캐시", "캐시 만료 시간은 십 분이고 재고 정보는 캐시하지 않습니다.", {"ko": "캐시의 만료 시간이 얼마인가요"}),
    Case("결제", "결제 취소는 비동기로 처리되며 웹훅을 기다립니다.", {"ko": "결제를 취소하면 어떻게 처리되나요"}),
    Case(
        "",
        "오류: 데이터베이스 연결이 끊어졌습니다, 연결 풀 크기를 늘렸습니다",
        {"ko": "데이터베이스의 연결이 왜 끊어졌나요", "part": "연결 풀"},
    ),
    Case("검색", "검색 색인은 매일 새벽에 다시 만들어집니다.", {"ko": "색인을 다시 만드는 시각"}),
    Case(
        "알림", "푸시 알림은 사용자 동의가 있어야 보낼 수 있습니다.", {"ko": "사용자의 동의 없이 알림을 보내도 되나요"}
    ),
    Case("백업", "백업 파일은 암호화하여 다른 지역에 보관합니다.", {"ko": "백업을 어디에 보관하나요"}),
    Case(
        "번역", "번역 파일은 직접 수정하지 말고 번역 도구에서 내보냅니다.", {"ko": "번역 파일을 직접 수정해도 되나요"}
    ),
    Case("권한", "감사 기록은 최고 관리자만 삭제할 수 있습니다.", {"ko": "감사 기록을 삭제할 권한이 있는 사람"}),
    Case(
        "메모리",
        "메모리 누수는 이벤트 리스너를 해제하지 않아서 생겼습니다.",
        {"ko": "메모리 누수의 원인은 무엇이었나요"},
    ),
    Case("정산", "정산 작업은 매월 첫 영업일에 실행됩니다.", {"ko": "정산은 언제 실행됩니까", "part": "영업일"}),
    # mixed with English and code
    Case(
        "Redis",
        "Redis 的 maxmemory-policy 用 allkeys-lru，会话数据放在另一个实例。",
        {"mixed": "Redis 会话数据放在哪个实例"},
    ),
    Case(
        "订单服务",
        "OrderService.createOrder() 里的库存扣减要放在事务外面。",
        {"mixed": "createOrder 的库存扣减", "zh": "库存扣减在事务里吗"},
    ),
    Case(
        "容器",
        "Kubernetes的Pod被OOMKilled，把limits.memory调到2Gi。",
        {"mixed": "Pod被OOMKilled怎么调", "part": "limits.memory"},
    ),
    Case(
        "型エラー",
        "TypeScriptの`strictNullChecks`を有効にした。",
        {"mixed": "strictNullChecksを有効にした理由", "part": "TypeScript"},
    ),
    Case(
        "リリース",
        "GitHub Actionsのdeploy.ymlでタグをpushするとリリースされる。",
        {"mixed": "deploy.ymlはいつ動く？", "ja": "タグをpushするとどうなる"},
    ),
    Case(
        "도커",
        "Docker 이미지는 python:3.12-slim을 기반으로 합니다.",
        {"mixed": "Docker 이미지의 기반", "ko": "이미지는 무엇을 기반으로 하나요"},
    ),
    Case(
        "", "修复 `NullPointerException`：UserMapper.selectById 返回空", {"mixed": "NullPointerException 是怎么修复的"}
    ),
    Case("環境変数", "`API_BASE_URL`は環境変数で渡し、コードに書かない。", {"mixed": "API_BASE_URLはどこに書くのか"}),
    Case(
        "網域",
        "CORS 允許的網域寫在 allowed_origins，萬用字元不可用。",
        {"mixed": "CORS 可以用萬用字元嗎", "zh-hant": "允許的網域寫在哪"},
    ),
    Case(
        "커밋",
        "커밋 메시지는 영어로 쓰고 fix: 또는 feat: 로 시작합니다.",
        {"mixed": "커밋 메시지 feat", "ko": "커밋 메시지를 영어로 쓰나요"},
    ),
    Case(
        "性能",
        "N+1查询：用 `prefetch_related('items')` 把页面从四秒降到三百毫秒。",
        {"mixed": "prefetch_related 页面 毫秒"},
    ),
    Case("编码规范", "Go 代码用 gofumpt 格式化，错误用 %w 包装。", {"mixed": "Go 的错误怎么包装"}),
]
DECOYS = [
    "缓存服务器: 缓存服务器有三台，内存各六十四兆。",
    "过期: 优惠券过期后不能使用，时间以服务器为准。",
    "账户: 账户余额每天核对，失败的转账次日重试。",
    "数据库: 数据库的表名用小写，字段要有注释。",
    "上线清单: 上线之前检查域名和证书。",
    "队列长度: 队列长度超过一万就报警。",
    "生产环境: 生产环境的密码由运维保管。",
    "手机: 手机端的适配由另一个团队负责。",
    "连接: 长连接的心跳是三十秒，超时会断开。",
    "签名: 签名算法是国密，校验工具在工具箱。",
    "索引: 索引重建需要两个小时。",
    "审计: 审计报告每季度一次。",
    "渲染: 服务端渲染只用于首页。",
    "运行: 任务运行时占用大量内存。",
    "主库: 主库和从库的延迟不超过一秒。",
    "集成: 持续集成的机器有八台。",
    "機房: 機房溫度由系統監控，異常時通知。",
    "更新: 套件更新每月進行，自動合併。",
    "訂單: 訂單編號不可重複。",
    "記憶體: 記憶體型號由採購決定。",
    "審查: 程式碼審查要看測試。",
    "錯誤率: 錯誤率的計算方式寫在文件。",
    "修改: 修改密碼需要驗證信箱。",
    "期限: 提出の期限は金曜日です。",
    "サーバー: サーバーの台数は四台です。応答は速い。",
    "起動: 起動に三分かかるのは仕様です。",
    "注文: 注文番号は連番ではない。",
    "夜間: 夜間の連絡先は当番表を見る。",
    "アップロード: アップロードの上限は十メガバイト。",
    "ワーカー: ワーカーの数はコア数と同じ。",
    "フォーム: 入力フォームの検証はサーバーで行う。",
    "配信: 動画配信は別のサービスが担当する。",
    "単体テスト: 単体テストではモックを使ってよい。",
    "日本語: 日本語の文書は社内のみ。",
    "出力: 帳票の出力は遅い。どこで行うか未定。",
    "承認: 休暇の承認は上長が行う。",
    "文字数: 文字数の上限は二百。",
    "サムスン: サムスンの端末で確認した。メモは要らない。",
    "서버: 서버 이름은 영어로 짓습니다. 운영 문서를 보세요.",
    "개발 배포: 개발 환경 배포는 자동으로 진행합니다.",
    "계정: 새 계정은 인사팀이 만듭니다.",
    "시간: 회의 시간은 삼십 분입니다.",
    "취소: 예약 취소는 전화로 합니다.",
    "데이터: 데이터 분석은 다른 팀이 합니다.",
    "연결: 네트워크 연결을 먼저 확인하세요.",
    "새벽: 새벽에는 점검이 있습니다.",
    "사용자: 사용자 이름은 바꿀 수 있습니다.",
    "파일: 파일 크기는 십 메가로 제한됩니다.",
    "관리자: 관리자 화면은 내부망에서만 열립니다.",
    "이벤트: 이벤트 이름은 과거형으로 씁니다.",
    "Redis 集群: Redis 集群有六个节点，数据分片。",
    "订单表: OrderTable 和 createUser 在旧代码里。库存报表另有页面。",
    "节点: Kubernetes 节点每周重启，Pod 会迁移。",
    "型: TypeScriptの型は自動生成する。strictモードは別。",
    "タグ: タグの命名はsemverに従う。build.ymlは毎日動く。",
    "이미지 파일: 이미지 파일은 webp를 씁니다. Docker와 무관합니다.",
    "空指针: UserMapper.selectAll 很慢，ArrayIndexOutOfBoundsException 已知。",
    "変数: BASE_URLとAPI_KEYは別のファイル。コードに注意。",
    "메시지: 오류 메시지는 한국어로 씁니다.",
    "页面: 页面标题不超过二十字，查询参数要编码。",
]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, int], dict[str, list[str]]]:
    """How many questions of each kind were asked, and which were not answered among the first hits."""
    library = Library(tmp_path_factory.mktemp("cjk"))
    fill(library, CASES, DECOYS)
    return misses(library, questions(CASES))


def test_questions_in_chinese_japanese_and_korean_find_what_answers_them(
    answers: tuple[dict[str, int], dict[str, list[str]]],
) -> None:
    asked, missed = answers
    lost = [f"{kind}: {one}" for kind, ones in missed.items() for one in ones]

    assert len(CASES) >= 60
    assert len(lost) <= 0.05 * sum(asked.values()), "\n".join(lost)


@pytest.mark.parametrize("kind", sorted({kind for case in CASES for kind in case.asked}))
def test_each_language_and_mixture_works(answers: tuple[dict[str, int], dict[str, list[str]]], kind: str) -> None:
    asked, missed = answers

    assert len(missed.get(kind, ())) <= 0.1 * asked[kind], "\n".join(missed[kind])


def test_the_snippet_of_a_cjk_page_is_where_the_words_of_a_longer_question_stand(tmp_path: Path) -> None:
    library = Library(tmp_path)
    weather = "今天天气很好，我们去公园散步。\n\n" * 60
    library.page("项目笔记", f"{weather}数据库连接池的大小是二十，由小王决定。\n\n{weather}")

    assert "连接池的大小是二十" in library.ask("数据库连接池在哪里设置大小").hits[0].snippet

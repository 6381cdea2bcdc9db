-- The tables of version 1, as the library made them before they said their version.

CREATE TABLE mpesa_stk_transactions (
    transaction_no VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    idempotency_key VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    account VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    phone_number VARCHAR(64) NOT NULL,
    amount BIGINT NOT NULL,
    reference VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    description LONGTEXT NOT NULL,
    state VARCHAR(64) NOT NULL,
    created DATETIME(6) NOT NULL,
    updated DATETIME(6) NOT NULL,
    expires_at DATETIME(6) NOT NULL,
    due_at DATETIME(6),
    merchant_request_id LONGTEXT,
    checkout_request_id VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    response_description LONGTEXT,
    customer_message LONGTEXT,
    result_code VARCHAR(64),
    result_desc LONGTEXT,
    receipt_number VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    paid_at DATETIME(6),
    settled_by VARCHAR(64),
    needs_review LONGTEXT,
    reported BOOL NOT NULL,
    `history` LONGTEXT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (transaction_no),
    CONSTRAINT mpesa_stk_transactions_idempotency_key UNIQUE (idempotency_key, account),
    CONSTRAINT mpesa_stk_transactions_checkout_request_id UNIQUE (checkout_request_id),
    CONSTRAINT mpesa_stk_transactions_receipt_number UNIQUE (receipt_number)
)ENGINE=InnoDB CHARSET=utf8mb4;

CREATE INDEX mpesa_stk_transactions_reference ON mpesa_stk_transactions (reference, created);

CREATE INDEX mpesa_stk_transactions_account_due_at ON mpesa_stk_transactions (account, due_at);

CREATE TABLE mpesa_stk_callbacks (
    callback_id VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    `body` LONGBLOB NOT NULL,
    reason LONGTEXT NOT NULL,
    received DATETIME(6) NOT NULL,
    checkout_request_id VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    transaction_no VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    PRIMARY KEY (callback_id)
)ENGINE=InnoDB CHARSET=utf8mb4;

CREATE INDEX mpesa_stk_callbacks_transaction_no ON mpesa_stk_callbacks (transaction_no);

CREATE INDEX mpesa_stk_callbacks_checkout_request_id ON mpesa_stk_callbacks (checkout_request_id);

CREATE INDEX mpesa_stk_callbacks_received ON mpesa_stk_callbacks (received);

CREATE TABLE mpesa_stk_tokens (
    app VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    value LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    expires_in DOUBLE,
    renew_at DATETIME(6),
    version BIGINT NOT NULL,
    PRIMARY KEY (app)
)ENGINE=InnoDB CHARSET=utf8mb4;

CREATE TABLE mpesa_stk_token_flights (
    app VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    holder VARCHAR(32),
    until DATETIME(6),
    version BIGINT NOT NULL,
    PRIMARY KEY (app)
)ENGINE=InnoDB CHARSET=utf8mb4;

CREATE TABLE mpesa_stk_query_budgets (
    app VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    next_at DATETIME(6) NOT NULL,
    interval_seconds DOUBLE NOT NULL,
    slowed_at DATETIME(6),
    version BIGINT NOT NULL,
    PRIMARY KEY (app)
)ENGINE=InnoDB CHARSET=utf8mb4;

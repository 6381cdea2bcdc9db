-- The tables of version 1, as the library made them before they said their version.

CREATE TABLE mpesa_stk_transactions (
    transaction_no VARCHAR(255) NOT NULL,
    idempotency_key VARCHAR(255),
    account VARCHAR(64) NOT NULL,
    phone_number VARCHAR(64) NOT NULL,
    amount BIGINT NOT NULL,
    reference VARCHAR(255) NOT NULL,
    description TEXT NOT NULL,
    state VARCHAR(64) NOT NULL,
    created TIMESTAMP WITH TIME ZONE NOT NULL,
    updated TIMESTAMP WITH TIME ZONE NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    due_at TIMESTAMP WITH TIME ZONE,
    merchant_request_id TEXT,
    checkout_request_id VARCHAR(255),
    response_description TEXT,
    customer_message TEXT,
    result_code VARCHAR(64),
    result_desc TEXT,
    receipt_number VARCHAR(255),
    paid_at TIMESTAMP WITH TIME ZONE,
    settled_by VARCHAR(64),
    needs_review TEXT,
    reported BOOLEAN NOT NULL,
    history TEXT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (transaction_no),
    CONSTRAINT mpesa_stk_transactions_idempotency_key UNIQUE (idempotency_key, account),
    CONSTRAINT mpesa_stk_transactions_checkout_request_id UNIQUE (checkout_request_id),
    CONSTRAINT mpesa_stk_transactions_receipt_number UNIQUE (receipt_number)
);

CREATE INDEX mpesa_stk_transactions_reference ON mpesa_stk_transactions (reference, created);

CREATE INDEX mpesa_stk_transactions_account_due_at ON mpesa_stk_transactions (account, due_at) WHERE due_at IS NOT NULL;

CREATE TABLE mpesa_stk_callbacks (
    callback_id VARCHAR(64) NOT NULL,
    body BYTEA NOT NULL,
    reason TEXT NOT NULL,
    received TIMESTAMP WITH TIME ZONE NOT NULL,
    checkout_request_id VARCHAR(255),
    transaction_no VARCHAR(255),
    PRIMARY KEY (callback_id)
);

CREATE INDEX mpesa_stk_callbacks_transaction_no ON mpesa_stk_callbacks (transaction_no);

CREATE INDEX mpesa_stk_callbacks_checkout_request_id ON mpesa_stk_callbacks (checkout_request_id);

CREATE INDEX mpesa_stk_callbacks_received ON mpesa_stk_callbacks (received);

CREATE TABLE mpesa_stk_tokens (
    app VARCHAR(255) NOT NULL,
    value TEXT,
    expires_in DOUBLE PRECISION,
    renew_at TIMESTAMP WITH TIME ZONE,
    version BIGINT NOT NULL,
    PRIMARY KEY (app)
);

CREATE TABLE mpesa_stk_token_flights (
    app VARCHAR(255) NOT NULL,
    holder VARCHAR(32),
    until TIMESTAMP WITH TIME ZONE,
    version BIGINT NOT NULL,
    PRIMARY KEY (app)
);

CREATE TABLE mpesa_stk_query_budgets (
    app VARCHAR(255) NOT NULL,
    next_at TIMESTAMP WITH TIME ZONE NOT NULL,
    interval_seconds DOUBLE PRECISION NOT NULL,
    slowed_at TIMESTAMP WITH TIME ZONE,
    version BIGINT NOT NULL,
    PRIMARY KEY (app)
);

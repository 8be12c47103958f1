"""Operations, transactions and key changes, emitted for any code that moves bytes."""

"""The Django app: add ``"mpesa_stk.contrib.django"`` to ``INSTALLED_APPS`` (extra ``django``)."""

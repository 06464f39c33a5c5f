from django.conf import settings


def named(get_response):
    """Each answer names its release."""

    def answer(request):
        response = get_response(request)
        response["X-Release"] = settings.RELEASE
        return response

    return answer
